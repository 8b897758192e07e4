// Response curves: a quantity against a setting that is a number, a line for each value of another factor (of exp7, each optimizer).

function responseFactors(study) {
  const factors = gridFactors(study);
  const numeric = factors.filter((each) => each.numeric && each.levels.length > 2);
  if (!numeric.length) return null;
  const x =
    numeric.find((each) => each.name === 'optimizer.lr') ||
    numeric.reduce((best, each) => (each.levels.length > best.levels.length ? each : best));
  const by =
    factors.filter((each) => each !== x).find((each) => each.name === 'optimizer.name') ||
    factors.find((each) => each !== x && !each.numeric && each.levels.length <= 12) ||
    factors.find((each) => each !== x && each.levels.length <= 12) ||
    null;
  return {x, by, factors, numeric};
}

// Whether some line of the response has at least three points, and no two cells of a line share an x without need.
function hasResponse(study) {
  const found = responseFactors(study);
  if (!found) return false;
  const groups = new Map();
  study.names.forEach((_, i) => {
    const key = found.by ? found.by.values[i] : null;
    groups.set(key, (groups.get(key) || new Set()).add(found.x.values[i]));
  });
  return [...groups.values()].some((each) => each.size > 2);
}

function isWide(levels) {
  const positive = levels.filter((level) => level > 0);
  return (
    positive.length > 1 && positive.length >= levels.length - 1 && Math.max(...positive) / Math.min(...positive) >= 16
  );
}

function responsePart(study) {
  const {x, by, factors, numeric} = responseFactors(study);
  const quantities = GRID_QUANTITIES.filter((name) => study.summary.has(name) && study.summary.numeric(name));
  const state = {
    x,
    by,
    quantity: quantities[0],
    scale: !isWide(x.levels) ? 'linear' : x.levels[0] > 0 ? 'log' : 'even',
  };
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => {
    const values = study.summary.get(state.quantity);
    const ends = ['low', 'high'].map((end) =>
      study.summary.has(`${state.quantity}_${end}`) ? study.summary.get(`${state.quantity}_${end}`) : null,
    );
    const levels = state.by ? state.by.levels : [null];
    const lines = levels
      .map((level, i) => responseLine(study, state, values, ends, level, i))
      .filter((each) => each.x.length);
    // What is not positive has no place on a logarithmic axis: its levels then stand at equal distances.
    const even = state.scale === 'even' || (state.scale === 'log' && state.x.levels[0] <= 0);
    const series = even
      ? lines.map((each) => ({...each, x: each.x.map((value) => state.x.levels.indexOf(value))}))
      : lines;
    const say = (value) => `${state.x.name} = ${significant(even ? state.x.levels[value] : value)}`;
    lineChart(place, width, {
      series,
      title: `${label(state.quantity)} against ${state.x.name}${state.by ? `, a line for each ${state.by.name}` : ''}`,
      x: {
        label: state.x.name,
        kind: even ? 'linear' : state.scale,
        say,
        exact: true,
        whole: state.x.levels.every(Number.isInteger),
        ticks: even ? state.x.levels.map((level, i) => [i, significant(level, 3)]) : null,
      },
      y: {label: label(state.quantity), kind: 'linear', say: (value) => shown(state.quantity, value)},
    });
  });
  const control = controls(state, draw);
  const none = {name: 'nothing', values: [], levels: []};
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser('Quantity', 'quantity', labelled(quantities)),
        control.chooser(
          'Against',
          'x',
          numeric.map((each) => [each, each.name]),
        ),
        factors.length > 1
          ? chooser(
              'A line for each',
              [...factors.map((each) => [each, each.name]), [none, 'nothing']],
              by || none,
              (value) => {
                state.by = value === none ? null : value;
                draw();
              },
            )
          : null,
        control.switcher('Horizontal axis', 'scale', [...SCALES, ['even', 'Even steps']]),
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Points: means over the done runs of a cell, bands: their 95% t intervals; where several cells share a place, the mean of these. All cells of the study are shown, whatever variants are chosen above.',
      ),
      fileNote(study, 'summary.csv'),
    ],
    draw,
  };
}

function responseLine(study, {x, by, quantity}, values, [lows, highs], level, i) {
  const members = study.names
    .map((_, cell) => cell)
    .filter((cell) => (by ? by.values[cell] === level : true) && values[cell] !== null && x.values[cell] !== null);
  const places = [...new Set(members.map((cell) => x.values[cell]))].sort((a, b) => a - b);
  const at = places.map((place) => members.filter((cell) => x.values[cell] === place));
  const single = (ends) => at.map((cells) => (ends && cells.length === 1 ? ends[cells[0]] : null));
  // A line of one variant has that variant's look.
  const place = by && by.levels.length === study.size && members.length === 1 ? members[0] : i;
  return {
    place,
    name: by ? shown(by.name, level) : label(quantity),
    x: places,
    y: at.map((cells) => interval(cells.map((cell) => values[cell])).mean),
    low: single(lows),
    high: single(highs),
  };
}
