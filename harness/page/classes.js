// Scores per class: a row for each class, a mark for each variant.

function classesPart(study) {
  const packed = study.record.classes;
  const rows = packed.variant.length;
  const table = new Columns(packed.columns, rows);
  const scores = ['test_f1', 'test_precision', 'test_recall'].filter((name) => table.has(name));
  const state = {score: scores[0]};
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => classDots(place, width, study, packed, table, state.score));
  study.onchoice(draw);
  const names = study.classNames;
  const labels = unpack(packed.labels, names.length);
  const nameOf = new Map(labels.map((each, i) => [each, names[i]]));
  const columns = [
    {
      key: 'variant',
      label: 'Variant',
      value: (row) => study.names[packed.variant[row]],
      text: (row) => study.names[packed.variant[row]],
      sort: (row) => packed.variant[row],
      show: (row) => bdi(named(study.names[packed.variant[row]])),
    },
    {
      key: 'class',
      label: 'Class',
      value: (row) => nameOf.get(table.get('class')[row]) ?? '',
      text: (row) => String(nameOf.get(table.get('class')[row]) ?? ''),
    },
    ...scores.map((name) => ({
      key: name,
      label: label(name),
      numeric: true,
      value: (row) => table.get(name)[row],
      show: (row) => fixed(table.get(name)[row]),
    })),
  ];
  const control = controls(state, draw);
  return {
    nodes: [
      el('div', {class: 'controls'}, control.switcher('Score', 'score', labelled(scores))),
      host,
      el('p', {class: 'intro'}, 'On the test images: means over the done runs of a variant.'),
      el(
        'details',
        {},
        el('summary', {}, 'All numbers'),
        dataTable({title: 'Scores per class', columns, rows: Array.from({length: rows}, (_, i) => i), limit: 400}),
      ),
      fileNote(study, 'classes.csv'),
    ],
    draw,
  };
}

function classDots(host, width, study, packed, table, score) {
  const labels = unpack(packed.labels, study.classNames.length);
  const chosen = new Set(study.chosen);
  const values = table.get(score);
  const classes = table.get('class');
  const points = packed.variant
    .map((variant, row) => ({variant, row: labels.indexOf(classes[row]), value: values[row]}))
    .filter((each) => chosen.has(each.variant) && each.value !== null && each.row >= 0);
  const range = extent(points.map((each) => each.value));
  if (!range) {
    host.append(el('p', {class: 'nothing'}, 'There is no score of the chosen variants.'));
    return;
  }
  const pad = (range[1] - range[0]) * 0.04 || 0.01;
  const names = Math.min(120, width * 0.3);
  const chart = frame(width, labels.length * 30 + 52, {
    x: {domain: [range[0] - pad, Math.min(range[1] + pad, 1.005)], label: label(score)},
    y: {domain: [0, 1], ticks: []},
    title: `${label(score)} per class and variant; the numbers are in the table below`,
    left: names,
    top: 6,
    right: 14,
  });
  labels.forEach((_, i) => {
    const y = 20 + i * 30;
    const own = points.filter((each) => each.row === i);
    const span = extent(own.map((each) => each.value));
    chart.picture.append(
      svg(
        'text',
        {class: 'name', x: names - 10, y: y + 4, 'text-anchor': 'end'},
        fitted(study.classNames[i], names - 14),
      ),
    );
    chart.inner.append(svg('line', {class: 'grid', x1: chart.left, x2: chart.right, y1: y, y2: y}));
    if (span)
      chart.inner.append(svg('line', {class: 'range', x1: chart.sx(span[0]), x2: chart.sx(span[1]), y1: y, y2: y}));
    own.forEach((each) => {
      const mark = marker(each.variant, chart.sx(each.value), y, 5);
      mark.append(svg('title', {}, `${named(study.names[each.variant])}: ${fixed(each.value)}`));
      chart.inner.append(mark);
    });
  });
  host.append(chart.picture, variantKey(study.chosen.map((variant) => ({place: variant, name: study.label(variant)}))));
}
