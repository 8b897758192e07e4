// A variant's place decides its colour, dash and marker, in every figure here and in those of harness/plots.py.

const DASHES = {'-': null, '--': '7 4', '-.': '8 3 2 3', ':': '2 3'};

function look(place) {
  const {colours, lines, markers} = COMMON.looks;
  const line = (place + Math.floor(place / colours.length)) % lines.length;
  return {
    colour: colours[place % colours.length],
    dash: DASHES[lines[line]],
    marker: markers[place % markers.length],
  };
}

const MARKER_PATHS = {
  o: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  s: (r) => `M${-r},${-r}H${r}V${r}H${-r}Z`,
  '^': (r) => `M0,${-1.2 * r}L${1.15 * r},${0.9 * r}H${-1.15 * r}Z`,
  v: (r) => `M0,${1.2 * r}L${1.15 * r},${-0.9 * r}H${-1.15 * r}Z`,
  D: (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0Z`,
  P: (r) => {
    const a = 0.4 * r;
    const b = 1.15 * r;
    return `M${-a},${-b}H${a}V${-a}H${b}V${a}H${a}V${b}H${-a}V${a}H${-b}V${-a}H${-a}Z`;
  },
  X: (r) => {
    const a = 0.55 * r;
    const b = 1.05 * r;
    return `M0,${-a}L${b - a},${-b}L${b},${a - b}L${a},0L${b},${b - a}L${b - a},${b}L0,${a}L${a - b},${b}L${-b},${b - a}L${-a},0L${-b},${a - b}L${a - b},${-b}Z`;
  },
};

function marker(place, x, y, radius = 4, attributes = {}) {
  const {colour, marker: kind} = look(place);
  return svg('path', {
    d: MARKER_PATHS[kind](radius),
    transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
    fill: colour,
    class: 'marker',
    ...attributes,
  });
}

// The look of a variant as a small picture: line and marker.
function swatch(place) {
  const {colour, dash} = look(place);
  return svg(
    'svg',
    {width: 30, height: 12, viewBox: '0 0 30 12', 'aria-hidden': 'true', class: 'swatch'},
    svg('line', {x1: 1, x2: 29, y1: 6, y2: 6, stroke: colour, 'stroke-width': 2, 'stroke-dasharray': dash}),
    marker(place, 15, 6, 4),
  );
}

// From white over the accent to dark, and from blue over white to orange: both without red and green.
function mixed(from, to, share) {
  return from.map((value, i) => Math.round(value + (to[i] - value) * share));
}

function shade(share, dark) {
  const stops = dark
    ? [
        [27, 31, 36],
        [32, 78, 112],
        [52, 140, 180],
        [176, 224, 230],
      ]
    : [
        [255, 255, 255],
        [189, 215, 231],
        [66, 134, 180],
        [8, 48, 96],
      ];
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(at), stops.length - 2);
  return mixed(stops[below], stops[below + 1], at - below);
}

function diverging(share, dark) {
  const middle = dark ? [27, 31, 36] : [255, 255, 255];
  const ends = dark
    ? [
        [222, 143, 5],
        [86, 180, 233],
      ]
    : [
        [179, 88, 6],
        [1, 90, 150],
      ];
  return mixed(middle, share < 0 ? ends[0] : ends[1], Math.min(Math.abs(share), 1));
}

function css([r, g, b]) {
  return `rgb(${r},${g},${b})`;
}

// Dark or light text on a colour.
function inkOn([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? '#15191d' : '#ffffff';
}

// Set by the events of printing: while drawings are made again for paper, the page is not yet in the medium print.
let printing = false;

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  if (printing) return false;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}
