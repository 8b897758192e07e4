// The layers by epoch: norms and spread of gradients, norms of weights, activations, dead units. A panel per layer.

const LAYER_KINDS = [
  'grad_norm',
  'grad_std',
  'grad_max',
  'weight_norm',
  'activation_mean',
  'activation_std',
  'dead_share',
];

function layersPart(study) {
  const layers = study.record.layers;
  const kinds = LAYER_KINDS.filter((kind) => layers.kinds[kind]);
  const state = {kind: kinds[0], scale: 'log'};
  const host = el('div', {class: 'panels'});
  const draw = live(host, (place, width) => {
    const panels = Object.entries(layers.kinds[state.kind]).sort(([a], [b]) => a - b);
    const columns = Math.min(panels.length, width > 1000 ? 3 : width > 620 ? 2 : 1);
    place.style.setProperty('--columns', columns);
    const size = (width - (columns - 1) * 20) / columns;
    const chosen = study.chosen
      .map((variant) => [variant, layers.variants.indexOf(variant)])
      .filter(([, row]) => row >= 0);
    for (const [layer, {mean, half}] of panels) {
      const output =
        Number(layer) === panels.length &&
        /grad|weight/.test(state.kind) &&
        mean.every((row) => row.some((value) => value !== null));
      const panel = el('div', {class: 'panel'}, el('h4', {}, `Layer ${layer}${output ? ' (output)' : ''}`));
      const drawing = el('div', {class: 'drawing'});
      panel.append(drawing);
      place.append(panel);
      const series = chosen.map(([variant, row]) => ({
        place: variant,
        name: study.label(variant),
        x: layers.epochs,
        y: mean[row],
        low: mean[row].map((value, i) => (value === null || half[row][i] === null ? null : value - half[row][i])),
        high: mean[row].map((value, i) => (value === null || half[row][i] === null ? null : value + half[row][i])),
      }));
      lineChart(drawing, size, {
        series,
        height: 260,
        key: false,
        title: `${label(state.kind)} of layer ${layer} by epoch`,
        x: {label: 'Epoch', kind: 'linear', exact: true, whole: true, say: (value) => `Epoch ${value}`},
        y: {label: '', kind: state.scale, say: (value) => significant(value, 3)},
      });
    }
    place.append(variantKey(chosen.map(([variant]) => ({place: variant, name: study.label(variant)}))));
    if (chosen.length < study.chosen.length)
      place.append(
        el('p', {class: 'intro'}, 'Of so many variants the page holds the layers of the baseline and the best only.'),
      );
  });
  study.onchoice(draw);
  const control = controls(state, draw);
  const scale = control.switcher('Vertical axis', 'scale', [
    ['log', 'Log'],
    ['linear', 'Linear'],
  ]);
  return {
    nodes: [
      el('div', {class: 'controls'}, control.chooser('Quantity', 'kind', labelled(kinds)), scale),
      host,
      el(
        'p',
        {class: 'intro'},
        'After each epoch, on the same 1,024 training images. Lines: means over the done runs. Bands: 95% t intervals of the means.',
      ),
      fileNote(study, 'history.csv'),
    ],
    draw,
  };
}
