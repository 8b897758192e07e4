// Parallel coordinates: a line for each cell or trial, through its settings and its result. Ranges on the axes keep some of them.

const MANY = 3000; // lines that are drawn

// `axes`: {name, values, numeric, levels}; `result` is the last axis and decides the shade.
function parallelPart({axes, result, names, done, note, file}) {
  const usable = [...axes, result].filter((axis) => axis.levels.length > 1 || axis === result);
  const ranges = new Map();
  const host = el('div', {class: 'drawing'});
  const status = el('p', {class: 'verdict', role: 'status'});
  const places = new Map(usable.map((axis) => [axis, parallelScale(axis)]));
  const rows = names
    .map((_, i) => i)
    .filter((i) => result.values[i] !== null)
    .slice(0, MANY);
  const kept = (row) =>
    [...ranges].every(([axis, [low, high]]) => {
      const share = places.get(axis).share(axis.values[row]);
      return share !== null && share >= low - 1e-9 && share <= high + 1e-9;
    });
  const draw = live(host, (place, width) => {
    const inside = rows.filter(kept);
    place.append(
      parallelPicture(width, usable, places, rows, new Set(inside), ranges, done, (axis, range) => {
        fields.get(axis).show(range);
        keep(axis, range);
      }),
    );
    const best = inside.reduce(
      (top, row) => (top === null || result.values[row] > result.values[top] ? row : top),
      null,
    );
    status.replaceChildren(
      `${count(inside.length)} of ${plural(rows.length, 'line')} within the ranges`,
      ...(best === null
        ? ['.']
        : [
            '; the best: ',
            el('strong', {}, bdi(named(names[best]))),
            ` with ${shown(result.name, result.values[best])}.`,
          ]),
    );
  });
  const keep = (axis, range) => {
    if (range) ranges.set(axis, range);
    else ranges.delete(axis);
    draw();
  };
  const fields = new Map(
    usable.map((axis) => [axis, rangeFields(axis, places.get(axis), (range) => keep(axis, range))]),
  );
  const fieldsets = el(
    'details',
    {},
    el('summary', {}, 'Ranges by keyboard'),
    el(
      'div',
      {class: 'ranges'},
      [...fields.values()].map((each) => each.node),
    ),
  );
  return {
    nodes: [
      host,
      status,
      el(
        'div',
        {class: 'controls'},
        el(
          'button',
          {
            type: 'button',
            class: 'quiet',
            onclick: () => {
              ranges.clear();
              fields.forEach((each) => each.show(null));
              draw();
            },
          },
          'Clear all ranges',
        ),
      ),
      fieldsets,
      el('p', {class: 'intro'}, note),
      file,
    ],
    draw,
  };
}

function makeAxis(name, values) {
  const levels = [...new Set(values.filter((value) => value !== null && value !== ''))];
  const numeric = levels.every((level) => typeof level === 'number');
  if (numeric) levels.sort((a, b) => a - b);
  return {name, values: values.map((value) => (value === '' ? null : value)), levels, numeric};
}

// From a value to its share of the axis, 0 at the bottom.
function parallelScale(axis) {
  const {levels, numeric} = axis;
  if (!numeric || levels.length < 2) {
    const at = new Map(levels.map((level, i) => [level, levels.length > 1 ? i / (levels.length - 1) : 0.5]));
    return {
      share: (value) => (at.has(value) ? at.get(value) : null),
      ticks: levels.map((level) => [at.get(level), shown(axis.name, level)]),
    };
  }
  const [low, high] = [levels[0], levels[levels.length - 1]];
  const scale = isWide(levels) && low > 0 ? logScale(low, high, 0, 1) : linearScale(low, high, 0, 1);
  const ticks =
    levels.length <= 6
      ? levels.map((level) => [scale(level), shown(axis.name, level)])
      : scale
          .ticks(5)
          .filter(([value]) => value >= low && value <= high)
          .map(([value, text]) => [scale(value), text]);
  return {share: (value) => (value === null ? null : scale(value)), ticks, invert: scale.invert};
}

function parallelPicture(width, axes, places, rows, inside, ranges, done, onrange) {
  const gap = Math.max(100, (width - 150) / Math.max(axes.length - 1, 1));
  const full = gap * (axes.length - 1) + 150;
  const [top, bottom] = [48, 300];
  const xAt = (i) => 96 + i * gap;
  const yAt = (share) => bottom - share * (bottom - top);
  const picture = svg('svg', {
    class: 'chart parallel',
    viewBox: `0 0 ${full} 324`,
    width: full,
    height: 324,
    role: 'img',
    'aria-label': `Parallel coordinates of ${axes.map((axis) => axis.name).join(', ')}`,
  });
  const result = axes[axes.length - 1];
  const dark = isDark();
  const layer = svg('g');
  for (const within of [false, true]) {
    for (const row of rows) {
      if (inside.has(row) !== within) continue;
      const points = axes.map((axis, i) => {
        const share = places.get(axis).share(axis.values[row]);
        return [xAt(i), share === null ? NaN : yAt(share)];
      });
      const colour = css(shade(0.25 + 0.75 * (places.get(result).share(result.values[row]) ?? 0), dark));
      layer.append(
        svg('path', {
          class: within ? 'inside' : 'outside',
          d: line(points),
          stroke: within ? colour : null,
          'stroke-dasharray': done && !done(row) ? '3 3' : null,
        }),
      );
    }
  }
  picture.append(layer);
  axes.forEach((axis, i) => {
    const x = xAt(i);
    const name = short(label(axis.name), Math.floor(gap / 7));
    const title = svg(
      'text',
      {class: 'axis-label', x: within(x, widthOf(name) / 2, full), y: 18, 'text-anchor': 'middle'},
      name,
      svg('title', {}, axis.name),
    );
    picture.append(title, svg('line', {class: 'axis', x1: x, x2: x, y1: top, y2: bottom}));
    let free = Infinity;
    for (const [share, text] of [...places.get(axis).ticks].sort((a, b) => a[0] - b[0])) {
      if (yAt(share) > free) continue;
      free = yAt(share) - 12;
      picture.append(svg('text', {class: 'halo', x: x - 6, y: yAt(share) + 4, 'text-anchor': 'end'}, short(text, 12)));
    }
    if (ranges.has(axis)) {
      const [low, high] = ranges.get(axis);
      picture.append(
        svg('rect', {class: 'brush', x: x - 8, width: 16, y: yAt(high), height: Math.max(yAt(low) - yAt(high), 2)}),
      );
    }
    const grip = svg('rect', {class: 'grip', x: x - 14, width: 28, y: top - 6, height: bottom - top + 12});
    brush(
      picture,
      grip,
      (y) => Math.min(Math.max((bottom - y) / (bottom - top), 0), 1),
      (range) => onrange(axis, range),
      full,
    );
    picture.append(grip);
  });
  return el(
    'div',
    {class: 'scroller plain', tabindex: '0', role: 'region', 'aria-label': 'Parallel coordinates'},
    picture,
  );
}

function brush(picture, grip, shareAt, onrange, full) {
  grip.addEventListener('pointerdown', (event) => {
    event.preventDefault();
    const box = picture.getBoundingClientRect();
    const share = (each) => shareAt(((each.clientY - box.top) * full) / box.width);
    const start = share(event);
    const end = (each) => {
      removeEventListener('pointerup', end);
      const stop = share(each);
      onrange(Math.abs(stop - start) < 0.01 ? null : [Math.min(start, stop), Math.max(start, stop)]);
    };
    addEventListener('pointerup', end);
  });
}

// The same ranges as fields: from and to among the values, or the numbers, of an axis.
function rangeFields(axis, scale, onrange) {
  const options = axis.levels.length <= 30 ? axis.levels : Array.from({length: 21}, (_, i) => scale.invert(i / 20));
  const state = {from: 0, to: options.length - 1};
  const tell = () => {
    if (state.from === 0 && state.to === options.length - 1) {
      onrange(null);
      return;
    }
    const shares = [options[Math.min(state.from, state.to)], options[Math.max(state.from, state.to)]].map((value) =>
      scale.share(value),
    );
    onrange([Math.min(...shares), Math.max(...shares)]);
  };
  const pairs = options.map((value, i) => [i, shown(axis.name, value)]);
  const field = (end) =>
    chooser(end, pairs, state[end], (i) => {
      state[end] = i;
      tell();
    });
  const node = el('fieldset', {}, el('legend', {}, label(axis.name)), field('from'), field('to'));
  // What was chosen elsewhere: of a range, the options next to its ends.
  const show = (range) => {
    const shares = options.map((value) => scale.share(value));
    const nearest = (end) =>
      shares.reduce((best, share, i) => (Math.abs(share - end) < Math.abs(shares[best] - end) ? i : best), 0);
    [state.from, state.to] = range ? range.map(nearest) : [0, options.length - 1];
    [...node.querySelectorAll('select')].forEach((select, i) => {
      select.selectedIndex = i ? state.to : state.from;
    });
  };
  return {node, show};
}
