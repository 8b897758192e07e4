// All runs of a study, each with its seed, status and results; two of them can be put side by side.

const RUN_RESULTS = [
  'test_accuracy',
  'test_f1_macro',
  'test_loss',
  'val_accuracy',
  'best_val_accuracy',
  'best_val_epoch',
  'train_accuracy',
  'gap',
  'epochs_done',
  'seconds_to_target',
  'train_seconds',
  'peak_memory_bytes',
];

function statusCell(status) {
  const sign = {done: '●', diverged: '▲', failed: '✕', pruned: '◐'}[status] || '?';
  return el(
    'span',
    {class: `status-${status === 'done' ? 'good' : status === 'pruned' ? 'fair' : 'bad'}`},
    el('span', {'aria-hidden': 'true'}, `${sign} `),
    status || 'unknown',
  );
}

function pickButton(study, side, run) {
  const name = `${named(study.names[study.variantOf[run]])}, seed ${study.runs.get('seed')[run]}`;
  const button = el('button', {
    type: 'button',
    class: 'quiet',
    'data-side': side,
    'data-study': study.place,
    'data-run': run,
    'aria-label': `Run ${side} of the comparison: ${name}`,
    onclick: () => pickRun(side, study.place, run),
  });
  showPicked([button]);
  return button;
}

// Which two runs are chosen, wherever they were.
function showPicked(buttons = document.querySelectorAll('.pair button')) {
  for (const button of buttons) {
    const {side, study, run} = button.dataset;
    const on = pair[side]?.study === Number(study) && pair[side].run === Number(run);
    button.setAttribute('aria-pressed', String(on));
    button.textContent = on ? `${side} ✓` : side;
  }
}

function runsPart(study) {
  const {runs} = study;
  const columns = [
    {
      key: 'variant',
      label: 'Variant',
      value: (row) => study.names[study.variantOf[row]],
      text: (row) => study.names[study.variantOf[row]],
      sort: (row) => study.variantOf[row],
      show: (row) =>
        el(
          'span',
          {class: 'with-swatch', title: named(study.names[study.variantOf[row]])},
          swatch(study.variantOf[row]),
          bdi(named(study.label(study.variantOf[row]))),
        ),
    },
    {
      key: 'seed',
      label: 'Seed',
      value: (row) => runs.get('seed')[row],
      numeric: true,
      show: (row) => String(runs.get('seed')[row] ?? MISSING),
    },
    {
      key: 'status',
      label: 'Status',
      value: (row) => runs.get('status')[row],
      text: (row) => runs.get('status')[row],
      show: (row) => statusCell(runs.get('status')[row]),
    },
  ];
  const extra = study.settings.filter((name) => runs.varies(name));
  for (const name of [
    ...RUN_RESULTS.filter((each) => runs.has(each)),
    ...(runs.has('reason') ? ['reason'] : []),
    ...extra,
    'run_id',
  ]) {
    if (!runs.has(name)) continue;
    const numeric = runs.numeric(name);
    const get = (row) => runs.get(name)[row];
    columns.push({
      key: name,
      label: name === 'run_id' ? 'Run' : name === 'reason' ? 'Reason' : label(name),
      value: get,
      text: numeric ? null : (row) => get(row) ?? '',
      numeric,
      show: (row) => (name === 'run_id' ? el('code', {}, get(row) ?? '') : shown(name, get(row))),
    });
  }
  columns.splice(3, 0, {
    key: 'compare',
    label: 'Compare',
    show: (row) =>
      el(
        'span',
        {class: 'pair'},
        ['A', 'B'].map((side) => pickButton(study, side, row)),
      ),
  });
  const common = study.settings.filter((name) => runs.has(name) && !runs.varies(name));
  return {
    nodes: [
      dataTable({
        title: 'Runs',
        columns,
        rows: study.variantOf.map((_, row) => row),
        attributes: (row) => (study.variantOf[row] === study.baseline ? {class: 'baseline'} : {}),
      }),
      el('p', {class: 'intro'}, 'A and B choose two runs for ', el('a', {href: '#compare'}, 'the comparison'), '.'),
      common.length
        ? el(
            'details',
            {},
            el('summary', {}, 'Settings that all runs share'),
            el(
              'dl',
              {class: 'facts'},
              common.map((name) => el('div', {}, el('dt', {}, name), el('dd', {}, shown(name, runs.get(name)[0])))),
            ),
          )
        : null,
      fileNote(study, 'runs.csv'),
    ],
  };
}
