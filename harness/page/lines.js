// A line chart: a line with a band per variant, names at the ends, a readout.

// `series`: {place, name, x, y, low?, high?, thin?}; thin lines (single runs) have no name, band or marker.
function lineChart(host, width, {series, x, y, title, height = 340, zoom = false, key = true}) {
  const main = series.filter((each) => !each.thin);
  const usable = (value) => Number.isFinite(value) && value !== null && (y.kind !== 'log' || value > 0);
  const xs = extent(series.flatMap((each) => each.x).filter((value) => x.kind !== 'log' || value > 0));
  const range = yRange(main.length ? main : series, usable, y, zoom);
  if (!xs || !range) {
    host.append(el('p', {class: 'nothing'}, 'There is no number to draw here.'));
    return null;
  }
  const wide = width > 560;
  const longest = Math.max(0, ...main.map((each) => widthOf(named(each.name))));
  const right = wide && main.length <= 16 ? Math.min(220, 26 + longest) : 14;
  const pad = x.kind === 'log' ? 0 : (xs[1] - xs[0]) * 0.015;
  const chart = frame(width, wide ? height : Math.min(height, 290), {
    x: {...x, domain: [x.from ?? xs[0] - pad, xs[1] + pad]},
    y: {...y, domain: range},
    title,
    right,
  });
  const {inner, sx, sy} = chart;
  const at = (each, i, values = each.y) => [sx(each.x[i]), usable(values[i]) ? sy(values[i]) : NaN];
  for (const each of main) {
    if (!each.low) continue;
    const ok = each.x.map((_, i) => i).filter((i) => Number.isFinite(each.low[i]) && each.low[i] !== null);
    const floor = y.kind === 'log' ? range[0] / 10 : -Infinity;
    const upper = ok.map((i) => [sx(each.x[i]), sy(each.high[i])]);
    const lower = ok.map((i) => [sx(each.x[i]), sy(Math.max(each.low[i], floor))]);
    if (ok.length > 1)
      inner.append(
        svg('path', {class: 'band', d: `${line([...upper, ...lower.reverse()])}Z`, fill: look(each.place).colour}),
      );
  }
  for (const each of series) {
    const {colour, dash} = look(each.place);
    inner.append(
      svg('path', {
        class: each.thin ? 'thin' : 'line',
        d: line(each.x.map((_, i) => at(each, i))),
        stroke: colour,
        'stroke-dasharray': each.thin ? null : dash,
      }),
    );
  }
  main.forEach((each, n) => {
    const step = Math.max(1, Math.round(each.x.length / 8));
    for (let i = each.x.length === 1 ? 0 : n % step; i < each.x.length; i += step) {
      const [a, b] = at(each, i);
      if (Number.isFinite(b)) inner.append(marker(each.place, a, b, 3.6));
    }
  });
  if (right > 20) endLabels(chart, main, at, usable);
  host.append(chart.picture);
  if (key && right <= 20 && main.length > 1) host.append(variantKey(main));
  const stops = [...new Set(main.flatMap((each) => each.x))]
    .filter((value) => x.kind !== 'log' || value > 0)
    .sort((a, b) => a - b);
  if (stops.length) readout(host, chart, stops.map(sx), (i) => pointContent(main, stops[i], x, y));
  return chart;
}

// Names of what is drawn, where there is no room for them at the lines' ends.
function variantKey(entries) {
  return el(
    'ul',
    {class: 'key'},
    entries.map((each) => el('li', {}, swatch(each.place), bdi(short(each.name, 30)))),
  );
}

// Ends of the y axis: all means, and bands as far as they do not flatten the lines.
function yRange(series, usable, y, zoom) {
  const shown = series.map((each) => {
    const from = zoom && each.y.length > 3 ? Math.floor(each.y.length / 3) : 0;
    return {
      y: each.y.slice(from).filter(usable),
      edges: [...(each.low || []).slice(from), ...(each.high || []).slice(from)].filter(usable),
    };
  });
  const range = extent(shown.flatMap((each) => each.y));
  if (!range) return null;
  const edges = extent(shown.flatMap((each) => each.edges)) || range;
  if (y.kind === 'log') return [Math.max(edges[0], range[0] / 3) * 0.95, Math.min(edges[1], range[1] * 3) * 1.05];
  const span = range[1] - range[0] || Math.abs(range[1]) * 0.02 || 1;
  const low = Math.min(range[0], Math.max(edges[0], range[0] - span / 2)) - 0.04 * span;
  const high = Math.max(range[1], Math.min(edges[1], range[1] + span / 2)) + 0.04 * span;
  return [
    y.floor === undefined ? low : Math.max(low, y.floor),
    y.ceiling === undefined ? high : Math.min(high, y.ceiling),
  ];
}

function endLabels(chart, series, at, usable) {
  const ends = series.map((each) => {
    const last = each.y.findLastIndex(usable);
    return last < 0 ? null : at(each, last);
  });
  const there = ends
    .map((end, i) => i)
    .filter((i) => ends[i] && ends[i][1] > chart.top - 8 && ends[i][1] < chart.bottom + 8);
  const places = spreadOut(
    there.map((i) => ends[i][1]),
    14,
    chart.top + 2,
    chart.bottom,
  );
  there.forEach((i, n) => {
    const colour = look(series[i].place).colour;
    chart.picture.append(
      svg('path', {
        class: 'leader',
        d: `M${ends[i][0] + 2},${ends[i][1]}L${chart.right + 8},${places[n]}H${chart.right + 12}`,
        stroke: colour,
      }),
      svg(
        'text',
        {class: 'end', x: chart.right + 16, y: places[n] + 4},
        fitted(series[i].name, chart.width - chart.right - 20),
        svg('title', {}, named(series[i].name)),
      ),
    );
  });
}

function pointContent(series, stop, x, y) {
  const rows = series
    .map((each) => {
      const i = each.x.findIndex((value) => value >= stop - 1e-12);
      return i < 0 || (x.exact && each.x[i] !== stop)
        ? null
        : {each, value: each.y[i], low: each.low && each.low[i], high: each.high && each.high[i]};
    })
    .filter((row) => row && Number.isFinite(row.value) && row.value !== null);
  rows.sort((a, b) => b.value - a.value);
  return [
    el('strong', {}, x.say(stop)),
    el(
      'table',
      {},
      el(
        'tbody',
        {},
        rows
          .slice(0, 14)
          .map(({each, value, low, high}) =>
            el(
              'tr',
              {},
              el('td', {}, swatch(each.place)),
              el('td', {}, bdi(short(each.name, 28))),
              el(
                'td',
                {class: 'number'},
                y.say(value),
                low !== null && low !== undefined && Number.isFinite(low)
                  ? el('span', {class: 'faded'}, ` ± ${y.say((high - low) / 2)}`)
                  : null,
              ),
            ),
          ),
      ),
    ),
  ];
}
