// The frame of a chart: size, axes, grid, labels; charts draw into it.

let clips = 0;

// `x` and `y`: {label, kind, domain, ticks?}. Gives the svg, scales and a group that is clipped to the axes.
function frame(width, height, {x, y, title, right = 12, left, top = 10, bottom = 44, grid = true}) {
  const picture = svg('svg', {
    class: 'chart',
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: 'img',
    'aria-label': title,
  });
  const probe = makeScale(y.kind, y.domain, height - bottom, top);
  const yTicks = y.ticks || probe.ticks(Math.max(3, Math.floor(height / 60)));
  const space =
    left ?? Math.min(160, 22 + 7 * Math.max(2, ...yTicks.map(([, text]) => text.length)) + (y.label ? 16 : 0));
  const sx = makeScale(x.kind, x.domain, space, width - right);
  const sy = probe;
  const axes = svg('g', {class: 'axes', 'aria-hidden': 'true'});
  const xTicks =
    x.ticks ||
    sx
      .ticks(Math.max(3, Math.floor((width - space - right) / 70)))
      .filter(([value]) => !x.whole || Number.isInteger(value))
      .map(([value, text]) => [value, x.whole ? minus(String(value)) : text]);
  for (const [value, text] of yTicks) {
    const at = sy(value);
    if (grid) axes.append(svg('line', {class: 'grid', x1: space, x2: width - right, y1: at, y2: at}));
    axes.append(svg('text', {x: space - 7, y: at + 4, 'text-anchor': 'end'}, text));
  }
  let free = -Infinity;
  for (const [value, text] of xTicks) {
    const at = sx(value);
    const half = text.length * 3.4;
    if (at - half < free) continue;
    free = at + half + 6;
    axes.append(svg('line', {class: 'grid faint', x1: at, x2: at, y1: top, y2: height - bottom}));
    axes.append(svg('text', {x: within(at, half, width), y: height - bottom + 17, 'text-anchor': 'middle'}, text));
  }
  axes.append(svg('line', {class: 'axis', x1: space, x2: width - right, y1: height - bottom, y2: height - bottom}));
  if (x.label)
    axes.append(
      svg(
        'text',
        {
          class: 'axis-label',
          x: within((space + width - right) / 2, widthOf(x.label) / 2, width),
          y: height - 6,
          'text-anchor': 'middle',
        },
        x.label,
      ),
    );
  if (y.label) {
    const middle = (top + height - bottom) / 2;
    axes.append(
      svg(
        'text',
        {class: 'axis-label', transform: `translate(13,${middle}) rotate(-90)`, 'text-anchor': 'middle'},
        y.label,
      ),
    );
  }
  const clip = `clip-${(clips += 1)}`;
  const inner = svg('g', {'clip-path': `url(#${clip})`});
  picture.append(
    svg(
      'defs',
      {},
      svg(
        'clipPath',
        {id: clip},
        svg('rect', {
          x: space - 1,
          y: top - 4,
          width: Math.max(width - right - space + 2, 1),
          height: height - bottom - top + 8,
        }),
      ),
    ),
    axes,
    inner,
  );
  return {picture, inner, sx, sy, left: space, right: width - right, top, bottom: height - bottom, width, height};
}

// The middle of a text of so much half a width, moved so that it stays in the picture.
function within(middle, half, width) {
  return Math.max(half, Math.min(middle, width - half));
}

function line(points) {
  let path = '';
  let pen = false;
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      pen = false;
      continue;
    }
    path += `${pen ? 'L' : 'M'}${x.toFixed(1)},${y.toFixed(1)}`;
    pen = true;
  }
  return path;
}

// Places for labels near `wanted`, at least `gap` apart, within [low, high].
function spreadOut(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const places = new Array(wanted.length);
  let last = low - gap;
  for (const i of order) {
    places[i] = Math.max(wanted[i], last + gap);
    last = places[i];
  }
  last = high + gap;
  for (const i of order.reverse()) {
    places[i] = Math.min(places[i], last - gap);
    last = places[i];
  }
  return places;
}

// Numbers near the pointer, or at the place that the arrow keys have reached.
function readout(host, chart, stops, content) {
  const {picture, top, bottom} = chart;
  const rule = svg('line', {class: 'rule', y1: top, y2: bottom, visibility: 'hidden'});
  const tip = el('div', {class: 'tip', role: 'status', hidden: true});
  let at = -1;
  const show = (i) => {
    at = Math.min(Math.max(i, 0), stops.length - 1);
    const x = stops[at];
    rule.setAttribute('x1', x);
    rule.setAttribute('x2', x);
    rule.setAttribute('visibility', 'visible');
    tip.replaceChildren(...content(at));
    tip.hidden = false;
    const scale = picture.clientWidth / chart.width || 1;
    const leftSide = x * scale > host.clientWidth / 2;
    tip.style.left = leftSide ? 'auto' : `${x * scale + 12}px`;
    tip.style.right = leftSide ? `${host.clientWidth - x * scale + 12}px` : 'auto';
    tip.style.top = `${top + 4}px`;
  };
  const hide = () => {
    tip.hidden = true;
    rule.setAttribute('visibility', 'hidden');
  };
  const nearest = (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.width;
    let best = 0;
    stops.forEach((stop, i) => {
      if (Math.abs(stop - x) < Math.abs(stops[best] - x)) best = i;
    });
    return best;
  };
  picture.setAttribute('tabindex', '0');
  picture.append(rule);
  picture.addEventListener('pointermove', (event) => show(nearest(event)));
  picture.addEventListener('pointerleave', hide);
  picture.addEventListener('blur', hide);
  picture.addEventListener('keydown', (event) => {
    const next = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: stops.length - 1}[event.key];
    if (event.key === 'Escape') hide();
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
  host.classList.add('with-tip');
  host.append(tip);
}
