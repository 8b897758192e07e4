// Means, intervals and quantiles of plain numbers; what is no finite number is left out.

function finite(values) {
  return values.filter((value) => typeof value === 'number' && Number.isFinite(value));
}

// Mean with its 95% Student t interval; no interval of a single value.
function interval(values) {
  const sample = finite(values);
  const n = sample.length;
  if (!n) return {n, mean: null, low: null, high: null};
  const mean = sample.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return {n, mean, low: null, high: null};
  const squares = sample.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const half = (COMMON.t[n] || 1.96) * Math.sqrt(squares / (n - 1) / n);
  return {n, mean, low: mean - half, high: mean + half};
}

function quantile(sorted, share) {
  const place = (sorted.length - 1) * share;
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (typeof value === 'number' && Number.isFinite(value)) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}
