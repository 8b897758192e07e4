// A hyperparameter search: its course, its best trials, which settings mattered, and how each of them acts.

function trialName(study, row) {
  const name = `trial ${study.trials.get('trial')[row]}`;
  return study.isSearch ? name : `${study.trials.get('variant')[row]}, ${name}`;
}

function courseChart(place, width, study, height) {
  const [numbers, values, status] = ['trial', 'val_accuracy', 'status'].map((name) => study.trials.get(name));
  const rows = numbers.map((_, i) => i).filter((i) => values[i] !== null && Number.isFinite(numbers[i]));
  const range = extent(rows.map((i) => values[i]));
  if (!range) {
    place.append(el('p', {class: 'nothing'}, 'No trial has an accuracy yet.'));
    return;
  }
  const pad = (range[1] - range[0]) * 0.05 || 0.01;
  const small = height < 200;
  const chart = frame(width, height, {
    x: {domain: [-0.5, Math.max(...finite(numbers)) + 0.5], label: small ? '' : 'Trial', whole: true},
    y: {domain: [range[0] - pad, range[1] + pad], label: small ? '' : 'Validation accuracy'},
    title: 'Validation accuracy of each trial, and the best so far',
    bottom: small ? 24 : 44,
  });
  let best = -Infinity;
  const walk = [];
  for (const i of rows) {
    if (status[i] === 'done' && values[i] > best) {
      if (walk.length) walk.push([chart.sx(numbers[i]), walk[walk.length - 1][1]]);
      best = values[i];
      walk.push([chart.sx(numbers[i]), chart.sy(best)]);
    }
    const mark = svg('circle', {
      class: status[i] === 'done' ? 'trial' : 'trial hollow',
      cx: chart.sx(numbers[i]),
      cy: chart.sy(values[i]),
      r: small ? 2.6 : 4,
    });
    mark.append(svg('title', {}, `${trialName(study, i)}, ${status[i]}: ${fixed(values[i])}`));
    chart.inner.append(mark);
  }
  if (walk.length)
    chart.inner.append(
      svg('path', {class: 'line best-so-far', d: line([...walk, [chart.right, walk[walk.length - 1][1]]])}),
    );
  place.append(chart.picture);
}

function coursePart(study) {
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => courseChart(place, width, study, 300));
  return {
    nodes: [
      host,
      el(
        'p',
        {class: 'intro'},
        'Filled: trained to the end; hollow: stopped early, with the last accuracy. Line: the best so far.',
      ),
      fileNote(study, 'trials.csv'),
    ],
    draw,
  };
}

const TRIAL_LABELS = {variant: 'Variant', trial: 'Trial', chosen: 'Chosen', status: 'Status', run_id: 'Run'};

function trialsPart(study) {
  const {trials} = study;
  const columns = trials.names.map((name) => {
    const numeric = trials.numeric(name);
    const get = (row) => trials.get(name)[row];
    const show =
      name === 'status'
        ? (row) => statusCell(get(row))
        : name === 'run_id'
          ? (row) => el('code', {}, get(row) ?? '')
          : name === 'variant'
            ? (row) => bdi(get(row))
            : (row) => shown(name, get(row));
    return {
      key: name,
      label: TRIAL_LABELS[name] || label(name),
      value: get,
      text: numeric ? null : (row) => String(get(row) ?? ''),
      numeric,
      show,
    };
  });
  return {
    nodes: [
      dataTable({title: 'Trials', columns, rows: Array.from({length: trials.rows}, (_, i) => i)}),
      fileNote(study, 'trials.csv'),
    ],
  };
}

function trialCurvesPart(study) {
  const {history, trials} = study;
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => {
    const values = trials.get('val_accuracy');
    const best = values
      .map((_, i) => i)
      .filter((i) => values[i] !== null && trials.get('status')[i] === 'done')
      .sort((a, b) => values[b] - values[a])
      .slice(0, 5);
    const series = values
      .map((_, row) => row)
      .filter((row) => history.length(row))
      .slice(0, 400)
      .map((row) => {
        const places = Array.from({length: history.length(row)}, (_, i) => i);
        const rank = best.indexOf(row);
        return {
          place: rank < 0 ? 7 : rank,
          thin: rank < 0,
          name: trialName(study, row),
          x: places.map((i) => history.epoch(row, i)),
          y: places.map((i) => history.value('val_accuracy', row, i)),
        };
      });
    lineChart(place, width, {
      series,
      title: 'Validation accuracy by epoch of all trials; the five best by name',
      x: {label: 'Epoch', kind: 'linear', exact: true, whole: true, say: (value) => `Epoch ${value}`},
      y: {label: 'Validation accuracy', kind: 'linear', say: fixed},
    });
  });
  return {
    nodes: [
      host,
      el('p', {class: 'intro'}, 'The five best trials by name, the others in grey; lines that end early were stopped.'),
      fileNote(study, 'history.csv'),
    ],
    draw,
  };
}

function importancePart(study) {
  const packed = study.record.importances;
  const table = new Columns(packed.columns, packed.rows);
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => {
    const values = table.get('importance');
    const names = Math.min(150, width * 0.4);
    const chart = frame(width, packed.rows * 28 + 52, {
      x: {domain: [0, Math.max(0.01, ...finite(values)) * 1.12], label: 'Share of what makes a trial one of the best'},
      y: {domain: [0, 1], ticks: []},
      title: 'Importance of each setting',
      left: names,
      right: 40,
    });
    values.forEach((value, i) => {
      const y = 14 + i * 28;
      chart.picture.append(
        svg(
          'text',
          {class: 'name', x: names - 8, y: y + 12, 'text-anchor': 'end'},
          short(String(table.get('parameter')[i]), Math.floor(names / 7)),
        ),
      );
      chart.inner.append(
        svg('rect', {
          class: 'bar',
          x: chart.left,
          y,
          width: Math.max(0, chart.sx(value || 0) - chart.left),
          height: 16,
        }),
      );
      chart.picture.append(svg('text', {x: chart.sx(value || 0) + 6, y: y + 12}, fixed(value, 3)));
    });
    place.append(chart.picture);
  });
  return {nodes: [host, fileNote(study, 'importances.csv')], draw};
}

// Whether trials that are neighbours in one setting differ in nothing else, but for the variant.
function joined(study) {
  return !study.isSearch && study.record.parameters.length === 1;
}

// Accuracy against one setting, points of all trials; by variant, optimizer or another factor where it is chosen.
function trialResponsePart(study) {
  const {trials} = study;
  const axes = study.record.parameters
    .filter((name) => trials.has(name))
    .map((name) => makeAxis(name, trials.get(name)))
    .filter((axis) => axis.levels.length > 1);
  const variants = {name: 'variant', levels: study.names, values: trials.get('variant'), numeric: false};
  const groups = [
    ...(study.isSearch ? [] : [variants]),
    ...axes.filter((axis) => !axis.numeric || axis.levels.length <= 6),
  ];
  const none = {name: 'nothing', levels: [null], values: []};
  const state = {
    x: axes.find((axis) => axis.name === 'optimizer.lr') || axes[0],
    by: groups.find((axis) => ['variant', 'optimizer.name'].includes(axis.name)) || none,
  };
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => trialScatter(place, width, study, state));
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser(
          'Against',
          'x',
          axes.map((axis) => [axis, axis.name]),
        ),
        control.chooser('A mark for each', 'by', [...groups.map((axis) => [axis, axis.name]), [none, 'nothing']]),
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Points: trials, pale if stopped early. ',
        joined(study)
          ? 'Lines: through all trials of a variant, else means of neighbouring trials.'
          : 'Lines: means of neighbouring trials that were trained to the end.',
        study.isSearch ? null : ' In a ring: the chosen ones. Crosses: diverged.',
      ),
      study.isSearch ? null : fileNote(study, 'trials.csv'),
    ],
    draw,
  };
}

function trialScatter(host, width, study, {x, by}) {
  const {trials} = study;
  const [values, status, chosen] = ['val_accuracy', 'status', 'chosen'].map((name) => trials.get(name));
  const scale = parallelScale(x);
  const continuous = x.numeric && (x.levels.length > 6 || !x.levels.every(Number.isInteger));
  const rows = values.map((_, i) => i).filter((i) => values[i] !== null && x.values[i] !== null);
  const range = extent(rows.map((i) => values[i]));
  if (!range) {
    host.append(el('p', {class: 'nothing'}, 'No trial has an accuracy yet.'));
    return;
  }
  const pad = (range[1] - range[0]) * 0.06 || 0.01;
  const right = width > 560 && by.name !== 'nothing' ? 120 : 14;
  const chart = frame(width, 320, {
    x: {domain: [-0.06, 1.06], ticks: scale.ticks, label: x.name},
    y: {domain: [range[0] - pad, range[1] + pad], label: 'Validation accuracy'},
    title: `Validation accuracy against ${x.name}`,
    right,
  });
  by.levels.forEach((level, k) => {
    const among = (i) => by.name === 'nothing' || by.values[i] === level;
    const own = rows.filter(among);
    const spot = (i) => chart.sx(scale.share(x.values[i]) + (continuous ? 0 : (((i * 13) % 11) - 5) * 0.004));
    own.forEach((i) => {
      const mark = marker(k, spot(i), chart.sy(values[i]), 4, {class: status[i] === 'done' ? 'marker' : 'marker pale'});
      mark.append(
        svg('title', {}, `${trialName(study, i)}: ${x.name} = ${shown(x.name, x.values[i])}, ${fixed(values[i])}`),
      );
      chart.inner.append(mark);
      if (chosen[i] === 'True')
        chart.inner.append(
          svg('circle', {class: 'ring', cx: spot(i), cy: chart.sy(values[i]), r: 9, stroke: look(k).colour}),
        );
    });
    values.forEach((_, i) => {
      if (status[i] !== 'diverged' || x.values[i] === null || !among(i)) return;
      const at = `M${spot(i) - 4},${chart.sy(range[0])}`;
      const mark = svg('path', {class: 'cross', d: `${at}l8,8m0,-8l-8,8`, stroke: look(k).colour});
      mark.append(svg('title', {}, `${trialName(study, i)}, diverged: ${x.name} = ${shown(x.name, x.values[i])}`));
      chart.inner.append(mark);
    });
    const done = own
      .filter((i) => status[i] === 'done')
      .sort((a, b) => scale.share(x.values[a]) - scale.share(x.values[b]));
    const size = by.name === 'variant' && joined(study) ? 1 : Math.max(1, Math.ceil(done.length / 6));
    const points = [];
    for (let i = 0; i < done.length; i += size) {
      const part = done.slice(i, i + size);
      points.push([
        interval(part.map((row) => chart.sx(scale.share(x.values[row])))).mean,
        chart.sy(interval(part.map((row) => values[row])).mean),
      ]);
    }
    if (points.length > 1 && x.numeric)
      chart.inner.append(
        svg('path', {class: 'line', d: line(points), stroke: look(k).colour, 'stroke-dasharray': look(k).dash}),
      );
  });
  host.append(chart.picture);
  if (by.name !== 'nothing')
    host.append(
      el(
        'ul',
        {class: 'key'},
        by.levels.map((level, k) => el('li', {}, swatch(k), bdi(shown(by.name, level)))),
      ),
    );
}

function winnerNodes(study) {
  const {winner} = study.record;
  if (!winner || !Object.keys(winner).length) return [el('p', {class: 'nothing'}, 'There is no winner yet.')];
  const pairs = (object) =>
    Object.entries(object || {}).flatMap(([name, value]) =>
      value && typeof value === 'object' && !Array.isArray(value)
        ? Object.entries(value).map(([key, item]) => [`${name}.${key}`, item])
        : [[name, value]],
    );
  const list = (items) =>
    el(
      'dl',
      {class: 'facts'},
      items.map(([name, value]) =>
        el(
          'div',
          {},
          el('dt', {}, label(name)),
          el('dd', {}, Array.isArray(value) ? value.join('x') : shown(name, value)),
        ),
      ),
    );
  return [
    el(
      'p',
      {},
      `Trial ${winner.trial ?? MISSING} has the highest validation accuracy; only its test figures were looked at.`,
    ),
    list(pairs(winner.metrics)),
    el('details', {}, el('summary', {}, 'All its settings'), list(pairs(winner.config))),
  ];
}
