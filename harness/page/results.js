// The result of a study: accuracy and difference from the baseline per variant, as a picture and as a table.

function resultsPart(study) {
  const host = el('div', {class: 'two'});
  const left = el('div');
  const right = el('div');
  host.append(left, ...(study.baseline === null ? [] : [right]));
  const drawLeft = live(left, (place, width) => forest(place, width, study, 'test_accuracy', 'Test accuracy'));
  const drawRight = live(right, (place, width) =>
    forest(place, width, study, 'difference', 'Difference from the baseline'),
  );
  const draw = () => {
    drawLeft();
    drawRight();
  };
  study.onchoice(draw);
  return {
    nodes: [
      el(
        'p',
        {class: 'intro'},
        'Large marks: means over the done runs, with their 95% t intervals. Small points: single runs.',
      ),
      host,
      cellsTable(study),
      fileNote(study, 'summary.csv'),
    ],
    draw,
  };
}

function forest(host, width, study, column, title) {
  const low = study.summary.get(`${column}_low`);
  const high = study.summary.get(`${column}_high`);
  const mean = study.summary.get(column);
  const rows = study.chosen.filter((variant) => mean[variant] !== null || column === 'test_accuracy');
  const accuracy = study.runs.get('test_accuracy');
  const reference = column === 'difference' ? bySeed(study, study.baseline) : null;
  const points = rows.map((variant) =>
    study
      .doneRunsOf(variant)
      .map((run) => {
        if (!reference) return accuracy[run];
        const base = reference.get(study.runs.get('seed')[run]);
        return base === undefined || accuracy[run] === null ? null : accuracy[run] - base;
      })
      .filter((value) => value !== null),
  );
  const all = extent([...points.flat(), ...rows.flatMap((v) => [mean[v], low[v], high[v]]), ...(reference ? [0] : [])]);
  if (!rows.length || !all) {
    host.append(el('p', {class: 'nothing'}, 'No variant with a done run is chosen.'));
    return;
  }
  const pad = (all[1] - all[0]) * 0.05 || 0.005;
  const names = study.room(rows, width);
  const height = rows.length * 30 + 58;
  const chart = frame(width, height, {
    x: {domain: [all[0] - pad, all[1] + pad], label: title},
    y: {domain: [0, 1], ticks: []},
    title: `${title} per variant; the numbers are in the table below`,
    left: names,
    top: 8,
    right: 16,
  });
  const {picture, inner, sx} = chart;
  if (reference) inner.append(svg('line', {class: 'zero', x1: sx(0), x2: sx(0), y1: chart.top, y2: chart.bottom}));
  rows.forEach((variant, i) => {
    const y = 23 + i * 30;
    const {colour} = look(variant);
    picture.append(
      svg(
        'text',
        {class: variant === study.baseline ? 'name base' : 'name', x: names - 10, y: y + 4, 'text-anchor': 'end'},
        fitted(study.label(variant), variant === study.baseline ? (names - 28) / 1.1 : names - 14) +
          (variant === study.baseline ? ' ◂' : ''),
        svg('title', {}, named(study.names[variant])),
      ),
    );
    points[i].forEach((value, k) =>
      inner.append(
        svg('circle', {class: 'seed', cx: sx(value), cy: y + (((k * 7) % 5) - 2) * 2.4, r: 2.2, fill: colour}),
      ),
    );
    if (mean[variant] === null) {
      inner.append(svg('text', {class: 'faded', x: sx(all[0]), y: y + 4}, 'no done run'));
      return;
    }
    if (low[variant] !== null && high[variant] !== null) {
      inner.append(
        svg('line', {class: 'whisker', x1: sx(low[variant]), x2: sx(high[variant]), y1: y, y2: y, stroke: colour}),
      );
      for (const end of [low[variant], high[variant]])
        inner.append(svg('line', {class: 'whisker', x1: sx(end), x2: sx(end), y1: y - 5, y2: y + 5, stroke: colour}));
    }
    inner.append(marker(variant, sx(mean[variant]), y, 5.2, {class: 'marker strong'}));
  });
  host.append(picture);
}

function bySeed(study, variant) {
  const accuracy = study.runs.get('test_accuracy');
  return new Map(
    study
      .doneRunsOf(variant)
      .filter((run) => accuracy[run] !== null)
      .map((run) => [study.runs.get('seed')[run], accuracy[run]]),
  );
}

const SUMMARY_SHOWN = new Set([
  'n',
  'diverged',
  'failed',
  'difference_n',
  'test_accuracy',
  'test_accuracy_std',
  'test_accuracy_low',
  'test_accuracy_high',
  'difference',
  'difference_low',
  'difference_high',
  'p_value',
  'p_holm',
  'gap_low',
  'gap_high',
]);

function cellsTable(study) {
  const {summary} = study;
  const get = (name) => (row) => summary.get(name)[row];
  const columns = [
    {
      key: 'variant',
      label: 'Variant',
      value: (row) => study.names[row],
      text: (row) => study.names[row],
      sort: (row) => row,
      show: (row) =>
        el(
          'span',
          {class: 'with-swatch', title: named(study.names[row])},
          swatch(row),
          bdi(named(study.label(row))),
          row === study.baseline ? el('span', {class: 'tag'}, 'baseline') : null,
        ),
    },
  ];
  for (const factor of study.factors) {
    columns.push({
      key: factor,
      label: factor,
      value: get(factor),
      text: (row) => shown(factor, get(factor)(row)),
      numeric: summary.numeric(factor),
      show: (row) => shown(factor, get(factor)(row)),
    });
  }
  const number = (key, name, show, note) =>
    columns.push({key, label: name, value: get(key), numeric: true, show, note});
  number('n', 'n', (row) => String(get('n')(row) ?? MISSING), 'done runs');
  for (const status of ['diverged', 'failed']) {
    if (summary.has(status) && summary.get(status).some((value) => value)) {
      number(
        status,
        status === 'diverged' ? 'Diverged' : 'Failed',
        (row) => (get(status)(row) ? el('strong', {class: 'bad'}, String(get(status)(row))) : '0'),
        'runs that ended so: counted, never averaged',
      );
    }
  }
  number(
    'test_accuracy',
    'Test accuracy',
    (row) => margin(get('test_accuracy')(row), get('test_accuracy_low')(row), get('test_accuracy_high')(row)),
    'mean ± half the width of its 95% t interval',
  );
  if (study.baseline !== null) {
    number(
      'difference',
      'Difference',
      (row) =>
        row === study.baseline
          ? 'baseline'
          : margin(get('difference')(row), get('difference_low')(row), get('difference_high')(row), true),
      'paired, seed by seed; mean ± half the width of its 95% t interval',
    );
    if (summary.has('p_value'))
      number('p_value', 'p', (row) => probability(get('p_value')(row)), 'two-sided sign-flip test');
    if (summary.has('p_holm'))
      number('p_holm', 'p (Holm)', (row) => probability(get('p_holm')(row)), 'corrected for the number of variants');
  }
  for (const name of summary.names) {
    if (!SUMMARY_SHOWN.has(name) && !study.factors.includes(name)) {
      const numeric = summary.numeric(name);
      columns.push({
        key: name,
        label: label(name),
        value: get(name),
        text: numeric ? null : (row) => String(get(name)(row) ?? ''),
        numeric,
        show: (row) => shown(name, get(name)(row)),
      });
    }
  }
  return dataTable({
    title: 'Cells',
    columns,
    rows: study.names.map((_, row) => row),
    filter: study.size > 3,
    attributes: (row) => (row === study.baseline ? {class: 'baseline'} : {}),
  });
}

// Where the numbers of a part come from, and how they are made again.
function fileNote(study, file) {
  const command = study.record.environment && study.record.environment.command;
  return el(
    'p',
    {class: 'file'},
    el('code', {}, `results/${study.record.key}/${file}`),
    command && typeof command === 'string' ? [' is made by ', el('code', {}, command)] : null,
  );
}
