// Distributions over seeds: every run as a point, with quartiles where there are enough of them.

const SPREADS = [
  'test_accuracy',
  'test_f1_macro',
  'test_loss',
  'val_accuracy',
  'best_val_accuracy',
  'best_val_epoch',
  'train_accuracy',
  'train_loss',
  'gap',
  'seconds_to_target',
  'epochs_to_target',
  'train_seconds',
  'seconds_per_epoch',
  'peak_memory_bytes',
];

function spreadPart(study) {
  const available = SPREADS.filter((name) => study.runs.varies(name) && study.runs.numeric(name));
  const state = {metric: available[0], paired: false};
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => distribution(place, width, study, state));
  study.onchoice(draw);
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser('Quantity', 'metric', labelled(available)),
        control.toggle('Join equal seeds', 'paired'),
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Points: done runs, one per seed. Boxes: quartiles and median, from five runs on; whiskers: all runs. Joined seeds share split, order of images and initial weights.',
      ),
    ],
    draw,
  };
}

function distribution(host, width, study, {metric, paired}) {
  const values = study.runs.get(metric);
  const rows = study.chosen.map((variant) => ({
    variant,
    runs: study.doneRunsOf(variant).filter((run) => values[run] !== null),
  }));
  const all = extent(rows.flatMap((row) => row.runs.map((run) => values[run])));
  if (!all) {
    host.append(el('p', {class: 'nothing'}, 'No done run of the chosen variants has this number.'));
    return;
  }
  const pad = (all[1] - all[0]) * 0.05 || Math.abs(all[1]) * 0.01 || 0.5;
  const names = study.room(
    rows.map((row) => row.variant),
    width,
  );
  const chart = frame(width, rows.length * 42 + 56, {
    x: {
      domain: [all[0] - pad, all[1] + pad],
      label: label(metric),
      ticks: /bytes/.test(metric)
        ? linearScale(all[0] - pad, all[1] + pad, 0, 1)
            .ticks(4)
            .map(([value]) => [value, shown(metric, value)])
        : undefined,
    },
    y: {domain: [0, 1], ticks: []},
    title: `${label(metric)} of every run, by variant`,
    left: names,
    top: 8,
    right: 16,
  });
  const {picture, inner, sx} = chart;
  const places = new Map();
  rows.forEach(({variant, runs}, i) => {
    const y = 28 + i * 42;
    const {colour} = look(variant);
    picture.append(
      svg(
        'text',
        {class: 'name', x: names - 10, y: y + 4, 'text-anchor': 'end'},
        fitted(study.label(variant), names - 14),
        svg('title', {}, named(study.names[variant])),
      ),
    );
    const sorted = runs.map((run) => values[run]).sort((a, b) => a - b);
    if (sorted.length >= 5) {
      const [q1, q2, q3] = [0.25, 0.5, 0.75].map((share) => sx(quantile(sorted, share)));
      inner.append(
        svg('line', {
          class: 'whisker',
          x1: sx(sorted[0]),
          x2: sx(sorted[sorted.length - 1]),
          y1: y,
          y2: y,
          stroke: colour,
        }),
        svg('rect', {
          class: 'box',
          x: q1,
          y: y - 11,
          width: Math.max(q3 - q1, 0.5),
          height: 22,
          fill: colour,
          stroke: colour,
        }),
        svg('line', {class: 'median', x1: q2, x2: q2, y1: y - 11, y2: y + 11, stroke: colour}),
      );
    }
    runs.forEach((run, k) => {
      const [px, py] = [sx(values[run]), y + (((k * 3) % 7) - 3) * 2.6];
      const seed = study.runs.get('seed')[run];
      places.set(`${i}/${seed}`, [px, py]);
      inner.append(marker(variant, px, py, 3.2, {class: 'marker point'}));
    });
    if (!runs.length) inner.append(svg('text', {class: 'faded', x: sx(all[0]), y: y + 4}, 'no done run'));
  });
  if (paired) {
    const seeds = [...new Set(study.runs.get('seed'))];
    for (const seed of seeds) {
      const points = rows.map((_, i) => places.get(`${i}/${seed}`) || [NaN, NaN]);
      inner.prepend(svg('path', {class: 'pairing', d: line(points)}));
    }
  }
  host.append(picture);
}
