// From numbers to places on an axis, and the ticks of the axis.

function niceStep(span, n) {
  const rough = span / Math.max(n, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const times = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999);
  return times * power;
}

function linearScale(low, high, from, to) {
  if (!(high > low)) {
    const pad = Math.abs(low) * 0.01 || 0.5;
    low -= pad;
    high += pad;
  }
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  scale.invert = (place) => low + ((place - from) / (to - from)) * (high - low);
  scale.domain = [low, high];
  scale.ticks = (n = 5) => {
    const ticks = ticksOf(n);
    return ticks.length < 2 && n < 12 ? scale.ticks(n + 1) : ticks; // one alone tells no scale
  };
  const ticksOf = (n) => {
    const step = niceStep(high - low, n);
    const places =
      Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) +
      (/^2\.?5/.test(String(step / 10 ** Math.floor(Math.log10(step) + 1e-9))) ? 1 : 0);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
      const value = i * step;
      const size = Math.max(Math.abs(low), Math.abs(high));
      ticks.push([
        value,
        size >= 1e6 || size < 1e-3
          ? significant(value, 3)
          : minus(value.toFixed(Math.min(places, 8)).replace(/^-(0\.?0*)$/, '$1')),
      ]);
    }
    return ticks;
  };
  return scale;
}

function logScale(low, high, from, to) {
  if (!(high > low * 1.0001)) {
    low /= 1.5;
    high *= 1.5;
  }
  const a = Math.log10(low);
  const b = Math.log10(high);
  const scale = (value) => from + ((Math.log10(value) - a) / (b - a)) * (to - from);
  scale.invert = (place) => 10 ** (a + ((place - from) / (to - from)) * (b - a));
  scale.domain = [low, high];
  scale.log = true;
  scale.ticks = (n = 5) => {
    const decades = b - a;
    const every = Math.ceil(decades / n);
    for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
      const ticks = [];
      for (let power = Math.floor(a); power <= Math.ceil(b); power += every) {
        for (const digit of digits) {
          const value = digit * 10 ** power;
          if (value >= low * 0.999 && value <= high * 1.001) ticks.push([value, significant(value, 3)]);
        }
      }
      if (ticks.length >= Math.min(3, n)) return ticks;
    }
    return linearScale(low, high, 0, 1)
      .ticks(4)
      .filter(([value]) => value > 0);
  };
  return scale;
}

function makeScale(kind, [low, high], from, to) {
  return kind === 'log' && low > 0 ? logScale(low, high, from, to) : linearScale(low, high, from, to);
}
