// Two runs side by side, of any study: what differs in their settings, their results, their curves, their confusion.

const pair = {A: null, B: null};
let redrawComparison = () => {};

function pickRun(side, study, run) {
  pair[side] = {study, run};
  redrawComparison();
  showPicked();
}

function compareView(studies) {
  const offered = studies.filter((study) => study.variantOf.length > 0);
  const body = el('div', {class: 'comparison'});
  const pickers = {A: el('fieldset', {class: 'picker'}), B: el('fieldset', {class: 'picker'})};
  const view = el(
    'section',
    {class: 'view', id: 'compare', 'aria-labelledby': 'compare-title'},
    el(
      'header',
      {class: 'study-head'},
      el('h2', {id: 'compare-title', tabindex: '-1'}, 'Compare two runs'),
      el('p', {class: 'counts'}, 'Choose two runs here, or with the buttons A and B in a table of runs.'),
    ),
    offered.length
      ? el('div', {class: 'two'}, pickers.A, pickers.B)
      : el('p', {class: 'nothing'}, 'There is no run to compare.'),
    body,
  );
  if (!offered.length) return view;
  const first = offered.find((study) => study.size > 1) || offered[0];
  pair.A ??= {study: first.place, run: first.runsOf(first.baseline ?? 0)[0] ?? 0};
  const rest = first.ranked.find((variant) => variant !== first.variantOf[pair.A.run] && first.runsOf(variant).length);
  pair.B ??= {study: first.place, run: rest === undefined ? first.variantOf.length - 1 : first.runsOf(rest)[0]};
  showPicked();
  const redraw = () => {
    for (const side of ['A', 'B']) fillPicker(pickers[side], side, offered);
    body.replaceChildren(...comparison(pair.A, pair.B));
    for (const each of body.querySelectorAll('.drawing')) if (each.redraw) each.redraw();
  };
  redrawComparison = () => {
    if (view.dataset.built) redraw();
  };
  drawings.push([
    view,
    () => {
      view.dataset.built = 'yes';
      redraw();
    },
  ]);
  return view;
}

function fillPicker(box, side, offered) {
  const focused = box.contains(document.activeElement)
    ? [...box.querySelectorAll('select')].indexOf(document.activeElement)
    : -1;
  const study = studyAt(pair[side].study);
  const variant = study.variantOf[pair[side].run];
  const ofVariant = study.runsOf(variant);
  const firstRun = (each) => each.runsOf(each.baseline ?? each.variantOf[0])[0] ?? 0;
  box.replaceChildren(
    el('legend', {}, `Run ${side}`),
    chooser(
      'Study',
      offered.map((each) => [each.place, `${each.title} (${each.record.key})`]),
      study.place,
      (place) => pickRun(side, place, firstRun(studyAt(place))),
    ),
    chooser(
      'Variant',
      study.names.map((name, i) => [i, short(name, 60)]).filter(([i]) => study.runsOf(i).length),
      variant,
      (value) => pickRun(side, study.place, study.runsOf(value)[0]),
    ),
    chooser(
      'Seed',
      ofVariant.map((run) => [run, `${study.runs.get('seed')[run]} (${study.runs.get('status')[run]})`]),
      pair[side].run,
      (run) => pickRun(side, study.place, run),
    ),
  );
  if (focused >= 0) box.querySelectorAll('select')[focused]?.focus();
}

function comparison(a, b) {
  const sides = [a, b].map((each) => ({study: studyAt(each.study), run: each.run}));
  return [
    comparedTable('Settings that differ', sides, (study) => ['dataset', ...study.settings], true),
    comparedTable('Results', sides, () => ['status', 'reason', ...RUN_RESULTS, 'seconds_per_epoch', 'run_id'], false),
    ...comparedCurves(sides),
    ...comparedConfusion(sides),
  ];
}

function comparedTable(title, sides, keys, onlyDifferent) {
  const value = ({study, run}, key) => (study.runs.has(key) ? study.runs.get(key)[run] : null);
  const all = [...new Set(sides.flatMap(({study}) => keys(study)))].filter((key) =>
    sides.some((side) => value(side, key) !== null && value(side, key) !== ''),
  );
  const rows = onlyDifferent ? [...all.filter((key) => value(sides[0], key) !== value(sides[1], key))] : all;
  const seeds = sides.map((side) => value(side, 'seed'));
  if (onlyDifferent && seeds[0] !== seeds[1]) rows.push('seed');
  if (!rows.length)
    return el(
      'section',
      {class: 'part'},
      el('h3', {}, title),
      el(
        'p',
        {class: 'nothing'},
        onlyDifferent ? 'None: the two runs have the same settings and seed.' : 'There are no results.',
      ),
    );
  const gap = (key) => {
    const [x, y] = sides.map((side) => value(side, key));
    return typeof x === 'number' && typeof y === 'number' && !onlyDifferent
      ? (y - x > 0 ? '+' : '') + shown(key, y - x)
      : '';
  };
  return el(
    'section',
    {class: 'part'},
    el('h3', {}, title),
    el(
      'div',
      {class: 'scroller plain', tabindex: '0', role: 'region', 'aria-label': title},
      el(
        'table',
        {class: 'data compared'},
        el(
          'thead',
          {},
          el(
            'tr',
            {},
            ['', 'A', 'B', ...(onlyDifferent ? [] : ['B − A'])].map((head) =>
              el('th', {scope: 'col', class: head ? 'number' : null}, head),
            ),
          ),
        ),
        el(
          'tbody',
          {},
          rows.map((key) =>
            el(
              'tr',
              {},
              el('th', {scope: 'row'}, onlyDifferent ? key : label(key)),
              sides.map((side) =>
                el(
                  'td',
                  {class: 'number'},
                  key === 'run_id'
                    ? el('code', {}, shown(key, value(side, key)))
                    : key === 'status'
                      ? statusCell(value(side, key))
                      : shown(key, value(side, key)),
                ),
              ),
              onlyDifferent ? null : el('td', {class: 'number'}, gap(key)),
            ),
          ),
        ),
      ),
    ),
  );
}

function sideName({study, run}, side) {
  return `${side}: ${named(study.names[study.variantOf[run]])}, seed ${study.runs.get('seed')[run]}`;
}

function comparedCurves(sides) {
  const metrics = CURVES.filter(
    (name) =>
      !ERRORS[name] && sides.some(({study, run}) => study.history.columns.includes(name) && study.history.length(run)),
  );
  if (!metrics.length) return [];
  const state = {metric: metrics[0], scale: 'linear'};
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => {
    const series = sides
      .map(({study, run}, side) => {
        const places = Array.from({length: study.history.length(run)}, (_, i) => i);
        return {
          place: side,
          name: sideName({study, run}, 'AB'[side]),
          x: places.map((i) => study.history.epoch(run, i)),
          y: places.map((i) => study.history.value(state.metric, run, i)),
        };
      })
      .filter((each) => each.x.length);
    lineChart(place, width, {
      series,
      title: `${label(state.metric)} of both runs by epoch`,
      x: {label: 'Epoch', kind: 'linear', exact: true, whole: true, say: (value) => `Epoch ${value}`},
      y: {
        label: label(state.metric),
        kind: state.scale,
        say: (value) => (/accuracy/.test(state.metric) ? fixed(value) : significant(value)),
      },
    });
  });
  host.redraw = draw;
  const control = controls(state, draw);
  return [
    el(
      'section',
      {class: 'part'},
      el('h3', {}, 'Curves'),
      el(
        'div',
        {class: 'controls'},
        control.chooser('Quantity', 'metric', labelled(metrics)),
        control.switcher('Vertical axis', 'scale', SCALES),
      ),
      host,
    ),
  ];
}

// Ten classes of one data set are not those of another.
function sameClasses(...sides) {
  const [one, other] = sides.map(({study, run}) => study.runs.get('dataset')[run] ?? study.record.dataset);
  const [names, others] = sides.map(({study}) => study.classNames); // null where classes.csv is not there
  return one === other && (!names || !others || JSON.stringify(names) === JSON.stringify(others));
}

function comparedConfusion(sides) {
  const own = sides.map(({study, run}) => (study.record.run_confusion || {})[run]);
  const ofCell = sides.map(({study, run}) => ((study.record.confusion || {}).test || {})[study.variantOf[run]]);
  const [a, b] = own.every(Boolean) ? own : ofCell;
  const part = (...content) => [el('section', {class: 'part'}, el('h3', {}, 'Confusion difference'), ...content)];
  const nothing = (text) => part(el('p', {class: 'nothing'}, text));
  if (!a || !b) return nothing('There are no two matrices to compare.');
  if (a.length !== b.length || !sameClasses(...sides)) return nothing('The classes of the two runs differ.');
  if (!own.every(Boolean) && a === b)
    return nothing(
      'Both runs are of one variant: its matrix is that of all its seeds, those of single runs are in their folders, which were not there when this page was built.',
    );
  return part(
    differenceMatrix(sides[0].study, b, a, 'B less A: percentage points of each true class, test images'),
    el(
      'p',
      {class: 'intro'},
      own.every(Boolean)
        ? 'Of these two runs.'
        : 'Of all seeds of the two variants: the matrices of single runs are in their folders, which were not there when this page was built.',
    ),
  );
}
