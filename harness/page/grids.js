// Two factors as a heat map, such as depth and width; what a cell shows is written in it.

// Factors of a study with their values in order; depth and width are taken from the widths where they are no columns.
function gridFactors(study) {
  const factors = study.factors.map((name) => ({name, values: study.summary.get(name)}));
  const hidden = factors.find((each) => each.name === 'hidden');
  if (hidden && !factors.some((each) => each.name === 'hidden.layers')) {
    const widths = hidden.values.map((text) =>
      text === null ? null : text === 'none' ? [] : String(text).split('x').map(Number),
    );
    if (widths.every((each) => each === null || new Set(each).size <= 1)) {
      factors.push(
        {name: 'hidden.layers', values: widths.map((each) => each && each.length)},
        {name: 'hidden.units', values: widths.map((each) => each && (each[0] ?? null))},
      );
    }
  }
  const told = factors.some((each) => each.name === 'hidden.layers')
    ? factors.filter((each) => each !== hidden)
    : factors; // hidden says the same
  return told
    .map((each) => {
      const levels = [...new Set(each.values.filter((value) => value !== null))];
      levels.sort((a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : 0));
      return {...each, levels, numeric: levels.every((level) => typeof level === 'number')};
    })
    .filter((each) => each.levels.length > 1);
}

function hasGrid(study) {
  return gridPair(gridFactors(study)) !== null;
}

// Two factors that make a grid: each combination a cell at most, most of them there.
function gridPair(factors) {
  const score = ([a, b]) =>
    (a.numeric + b.numeric) * 10 +
    (a.name === 'hidden.layers' && b.name === 'hidden.units' ? 100 : 0) -
    Math.abs(a.levels.length - b.levels.length) / 100;
  const pairs = factors
    .flatMap((a) => factors.filter((b) => a !== b).map((b) => [a, b]))
    .filter(([a, b]) => {
      const cells = new Set(
        a.values
          .map((value, i) => (value === null || b.values[i] === null ? null : `${value}|${b.values[i]}`))
          .filter(Boolean),
      );
      return (
        cells.size > Math.max(a.levels.length, b.levels.length) && cells.size >= 0.4 * a.levels.length * b.levels.length
      );
    });
  return pairs.length ? pairs.reduce((best, pair) => (score(pair) > score(best) ? pair : best)) : null;
}

const GRID_QUANTITIES = [
  'test_accuracy',
  'difference',
  'val_accuracy',
  'test_f1_macro',
  'gap',
  'seconds_per_epoch',
  'train_seconds',
];

function gridPart(study) {
  const factors = gridFactors(study);
  const [rows, columns] = gridPair(factors);
  const quantities = GRID_QUANTITIES.filter((name) => study.summary.has(name) && study.summary.numeric(name));
  const state = {rows, columns, quantity: quantities[0]};
  const host = el('div', {class: 'drawing'});
  const draw = () => host.replaceChildren(heatMap(study, state));
  const options = factors.map((each) => [each, each.name]);
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser('Quantity', 'quantity', labelled(quantities)),
        control.chooser('Rows', 'rows', options),
        control.chooser('Columns', 'columns', options),
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Means over the done runs; where several cells share a place, the mean of these. ▲ marks cells with diverged or failed runs, a frame the best.',
      ),
      fileNote(study, 'summary.csv'),
    ],
    draw,
  };
}

function heatMap(study, {rows, columns, quantity}) {
  const values = study.summary.get(quantity);
  const [diverged, failed] = ['diverged', 'failed'].map((name) => study.summary.get(name));
  const at = (row, column) =>
    study.names.map((_, i) => i).filter((i) => rows.values[i] === row && columns.values[i] === column);
  const cells = rows.levels.map((row) =>
    columns.levels.map((column) => {
      const there = at(row, column);
      return {
        there,
        mean: interval(there.map((i) => values[i])).mean,
        bad: there.reduce((sum, i) => sum + (diverged[i] || 0) + (failed[i] || 0), 0),
      };
    }),
  );
  const means = cells.flat().map((cell) => cell.mean);
  const range = extent(means);
  const good = /seconds|^gap/.test(quantity) ? range && range[0] : range && range[1];
  const dark = isDark();
  return el(
    'div',
    {
      class: 'scroller',
      tabindex: '0',
      role: 'region',
      'aria-label': `${label(quantity)} by ${rows.name} and ${columns.name}`,
    },
    el('p', {class: 'caption'}, `${label(quantity)}: ${rows.name} (down) by ${columns.name} (across)`),
    el(
      'table',
      {class: 'heat'},
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          el('td', {class: 'corner'}, `${rows.name} \\ ${columns.name}`),
          columns.levels.map((level) => el('th', {scope: 'col'}, shown(columns.name, level))),
        ),
      ),
      el(
        'tbody',
        {},
        cells.map((line_, i) =>
          el(
            'tr',
            {},
            el('th', {scope: 'row'}, shown(rows.name, rows.levels[i])),
            line_.map((cell) => {
              const colour =
                cell.mean === null
                  ? dark
                    ? [36, 41, 47]
                    : [240, 238, 233]
                  : shade(
                      0.06 + 0.94 * (range[1] > range[0] ? (cell.mean - range[0]) / (range[1] - range[0]) : 0.5),
                      dark,
                    );
              const text =
                cell.mean === null
                  ? cell.bad
                    ? `▲ ${cell.bad}`
                    : MISSING
                  : `${shown(quantity, cell.mean)}${cell.bad ? ' ▲' : ''}`;
              const place = el(
                'td',
                {
                  class: cell.mean !== null && cell.mean === good ? 'best' : null,
                  title: cell.there.map((variant) => study.names[variant]).join('; '),
                },
                text,
              );
              place.style.backgroundColor = css(colour);
              place.style.color = inkOn(colour);
              return place;
            }),
          ),
        ),
      ),
    ),
  );
}
