// Distributions of weights, gradients and activations, per layer: over the epochs of a variant, or of all variants at the end.
// Bins are two to the octave, so the axis is logarithmic on either side of zero.

const HISTOGRAM_KINDS = {weight: 'Weights', gradient: 'Gradients', activation: 'Activations'};
const NEAR_ZERO_SHARE = 0.004; // so much on either side of zero is drawn as one bin

function histogramsPart(study) {
  const {edges, variants} = study.record.histograms;
  const offered = Object.keys(variants)
    .map(Number)
    .sort((a, b) => a - b);
  const kinds = Object.keys(HISTOGRAM_KINDS).filter((kind) => offered.some((variant) => variants[variant][kind]));
  const state = {
    kind: kinds[0],
    view: 'epochs',
    variant: offered.includes(study.baseline) ? study.baseline : offered[0],
  };
  const host = el('div', {class: 'panels'});
  const draw = live(host, (place, width) => {
    const lines = histogramLines(study, state);
    const layers = Math.max(0, ...lines.map((each) => each.layers.length));
    const columns = Math.min(Math.max(layers, 1), width > 1000 ? 3 : width > 620 ? 2 : 1);
    place.style.setProperty('--columns', columns);
    for (let layer = 0; layer < layers; layer += 1) {
      const drawing = el('div', {class: 'drawing'});
      place.append(el('div', {class: 'panel'}, el('h4', {}, `Layer ${layer + 1}`), drawing));
      histogramChart(
        drawing,
        (width - (columns - 1) * 20) / columns,
        edges,
        lines.filter((each) => each.layers[layer]).map((each) => ({...each, counts: each.layers[layer]})),
        `${HISTOGRAM_KINDS[state.kind]} of layer ${layer + 1}`,
      );
    }
    if (!layers)
      place.append(
        el(
          'p',
          {class: 'nothing'},
          state.kind === 'activation'
            ? 'The chosen networks have no hidden layer.'
            : 'There is no histogram of the chosen variants.',
        ),
      );
  });
  study.onchoice(draw);
  const control = controls(state, draw);
  const which = control.chooser(
    'Variant',
    'variant',
    offered.map((variant) => [variant, short(study.names[variant], 40)]),
  );
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.switcher(
          'Of what',
          'kind',
          kinds.map((kind) => [kind, HISTOGRAM_KINDS[kind]]),
        ),
        switcher(
          'Compare',
          [
            ['epochs', 'Epochs of one variant'],
            ['variants', 'Variants at the end'],
          ],
          state.view,
          (value) => {
            state.view = value;
            which.hidden = value !== 'epochs';
            draw();
          },
        ),
        which,
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Share of entries per octave (doubling of size), first seed. The axis is logarithmic on either side of zero; the share of what lies in the grey middle stands beside the name.',
      ),
      fileNote(study, 'details.npz'),
    ],
    draw,
  };
}

function histogramLines(study, state) {
  const {variants} = study.record.histograms;
  if (state.view === 'epochs') {
    const own = variants[state.variant];
    if (!own || !own[state.kind]) return [];
    return own.epochs.map((epoch, i) => ({
      name: `epoch ${epoch}`,
      share: own.epochs.length > 1 ? i / (own.epochs.length - 1) : 1,
      layers: own[state.kind][i],
    }));
  }
  return study.chosen
    .filter((variant) => variants[variant] && variants[variant][state.kind])
    .map((variant) => ({
      name: study.label(variant),
      place: variant,
      layers: variants[variant][state.kind][variants[variant][state.kind].length - 1],
    }));
}

// From [first bin, count, ...] to shares of all bins.
function binShares(packed, bins) {
  const shares = new Array(bins).fill(0);
  const total = packed.slice(1).reduce((sum, n) => sum + n, 0) || 1;
  packed.slice(1).forEach((n, i) => {
    if (packed[0] + i < bins) shares[packed[0] + i] = n / total;
  });
  return shares;
}

// How many bins on either side of the middle hold next to nothing, in all lines.
function innerBins(all, bins) {
  const middle = (bins - 1) / 2;
  let width = 0;
  while (width + 1 < middle) {
    const beside = Math.max(
      ...all.map(
        (shares) =>
          shares.slice(middle - width - 1, middle).reduce((a, b) => a + b, 0) +
          shares.slice(middle + 1, middle + width + 2).reduce((a, b) => a + b, 0),
      ),
    );
    if (beside > NEAR_ZERO_SHARE) break;
    width += 1;
  }
  return width;
}

// Shares per octave on either side of zero; the middle, [-1, 1] of the axis, is what is next to zero.
function histogramChart(host, width, edges, lines, title) {
  const bins = edges.length - 1;
  const middle = (bins - 1) / 2;
  const all = lines.map((each) => binShares(each.counts, bins));
  const inner = innerBins(all, bins);
  const start = edges[middle + 1 + inner]; // where the bins to the right of the middle begin
  const place = (size) => 1 + Math.log2(size / start);
  const folded = all.map((shares) => {
    const side = (sign) =>
      Array.from({length: middle - inner}, (_, i) => {
        const [from, to] = [edges[middle + 1 + inner + i], edges[middle + 2 + inner + i]];
        return {
          from: place(from),
          to: place(to),
          share: shares[middle + sign * (inner + 1 + i)] / Math.log2(to / from),
        };
      });
    return {
      left: side(-1),
      right: side(1),
      zero: shares.slice(middle - inner, middle + inner + 1).reduce((a, b) => a + b, 0),
    };
  });
  const reach = (side) =>
    Math.max(2, ...folded.map((each) => (each[side].findLast((bin) => bin.share > 0.0004) || {to: 2}).to));
  const [left, right] = [reach('left'), reach('right')];
  const top =
    Math.max(0.001, ...folded.flatMap((each) => [...each.left, ...each.right].map((bin) => bin.share))) * 1.12;
  const ticks = [[0, '0']];
  const every = left + right > 40 ? 2 : 1;
  for (let power = -9; power <= 3; power += 1) {
    const at = place(10 ** power);
    const text = power < -3 || power > 3 ? `1e${minus(String(power))}` : String(10 ** power);
    if (at < 1.2 || power % every) continue;
    if (at <= right) ticks.push([at, text]);
    if (at <= left) ticks.push([-at, `−${text}`]);
  }
  const chart = frame(width, 240, {
    x: {domain: [-left, right], ticks: ticks.sort((a, b) => a[0] - b[0])},
    y: {
      domain: [0, top],
      ticks: linearScale(0, top, 0, 1)
        .ticks(4)
        .map(([value]) => [value, percent(value, top < 0.02 ? 1 : 0)]),
    },
    title,
    right: 10,
    bottom: 30,
  });
  chart.inner.append(
    svg('rect', {
      class: 'near-zero',
      x: chart.sx(-1),
      width: chart.sx(1) - chart.sx(-1),
      y: chart.top,
      height: chart.bottom - chart.top,
    }),
  );
  const dark = isDark();
  folded.forEach((each, n) => {
    const stairs = (sign, side) =>
      side.flatMap((bin) => [
        [chart.sx(sign * bin.from), chart.sy(bin.share)],
        [chart.sx(sign * bin.to), chart.sy(bin.share)],
      ]);
    const points = [...stairs(-1, each.left).reverse(), [NaN, NaN], ...stairs(1, each.right)];
    const own = lines[n].place === undefined;
    const colour = own ? css(shade(0.35 + 0.65 * lines[n].share, dark)) : look(lines[n].place).colour;
    const drawn = svg('path', {
      class: 'line step',
      d: line(points),
      stroke: colour,
      'stroke-dasharray': own ? (n === folded.length - 1 ? null : '3 2') : look(lines[n].place).dash,
    });
    drawn.append(svg('title', {}, `${named(lines[n].name)}; next to zero: ${percent(each.zero)}`));
    chart.inner.append(drawn);
  });
  host.append(chart.picture);
  host.append(
    el(
      'ul',
      {class: 'key'},
      lines.map((each, n) =>
        el(
          'li',
          {},
          each.place === undefined
            ? keyLine(css(shade(0.35 + 0.65 * each.share, dark)), n === lines.length - 1 ? null : '3 2')
            : swatch(each.place),
          bdi(short(each.name, 24)),
          el('span', {class: 'faded'}, ` ${percent(folded[n].zero, folded[n].zero < 0.1 ? 1 : 0)} near 0`),
        ),
      ),
    ),
  );
}

function keyLine(colour, dash) {
  return svg(
    'svg',
    {width: 22, height: 10, viewBox: '0 0 22 10', 'aria-hidden': 'true', class: 'swatch'},
    svg('line', {x1: 1, x2: 21, y1: 5, y2: 5, stroke: colour, 'stroke-width': 2.5, 'stroke-dasharray': dash}),
  );
}
