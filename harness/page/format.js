// How numbers and names are shown.

const MISSING = '–';
const LABELS = {
  test_accuracy: 'Test accuracy',
  test_loss: 'Test loss',
  test_f1_macro: 'Test F1 (macro)',
  test_precision_macro: 'Test precision (macro)',
  test_recall_macro: 'Test recall (macro)',
  test_precision: 'Precision',
  test_recall: 'Recall',
  test_f1: 'F1',
  val_accuracy: 'Validation accuracy',
  val_loss: 'Validation loss',
  best_val_accuracy: 'Best validation accuracy',
  best_val_epoch: 'Best epoch',
  train_accuracy: 'Training accuracy',
  train_loss: 'Training loss',
  train_seconds: 'Training time (s)',
  seconds_per_epoch: 'Seconds per epoch',
  eval_seconds: 'Evaluation time (s)',
  compile_seconds: 'Compile time (s)',
  seconds_to_target: 'Seconds to target',
  epochs_to_target: 'Epochs to target',
  epochs_done: 'Epochs',
  peak_memory_bytes: 'Peak memory',
  difference: 'Difference',
  p_value: 'p',
  p_holm: 'p (Holm)',
  gap: 'Training less validation accuracy',
  reached: 'Runs that reached the target',
  status: 'Status',
  select: 'Weights of epoch',
  reason: 'Reason',
  run_id: 'Run',
  lr: 'Learning rate',
  penalty: 'L2 penalty',
  val_error: 'Validation error',
  train_error: 'Training error',
  grad_norm: 'Gradient norm',
  grad_std: 'Gradient spread (std of entries)',
  grad_max: 'Largest gradient entry',
  weight_norm: 'Weight norm',
  activation_mean: 'Mean activation',
  activation_std: 'Activation spread (std)',
  dead_share: 'Share of dead units',
};

function label(column) {
  return LABELS[column] || column;
}

function significant(x, digits = 4) {
  if (x === null || x === undefined || !Number.isFinite(x)) return MISSING;
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4)
    return x
      .toExponential(Math.max(digits - 2, 0))
      .replace(/\.?0+e/, 'e')
      .replace('-', '−')
      .replace('e-', 'e−')
      .replace('e+', 'e');
  const places = digits - 1 - Math.floor(Math.log10(size));
  return minus(String(Number(places < 0 ? x.toPrecision(digits) : toPlaces(x, places))));
}

// A number with so many places, 40 at most. Exact ties go to the even digit, as in the tables that Python writes:
// p = 0.03125 is 0.0312 in both; toFixed alone rounds it up.
function toPlaces(x, places) {
  const size = Math.abs(x);
  let text = size.toFixed(places);
  const tie = /^50+$/.test(size.toFixed(places + 55).slice(-55));
  if (tie && /[13579]$/.test(text)) text = ((Math.round(text * 10 ** places) - 1) / 10 ** places).toFixed(places);
  return (x < 0 && Number(text) ? '-' : '') + text;
}

function minus(text) {
  return text.replace('-', '−');
}

function fixed(x, places = 4) {
  return x === null || x === undefined || !Number.isFinite(x) ? MISSING : minus(toPlaces(x, places));
}

function signed(x, places = 4) {
  const text = fixed(x, places);
  return text === MISSING || text.startsWith('−') ? text : `+${text}`;
}

// Three significant digits without an exponent, as `seconds` in harness/summaries.py gives them.
function seconds(x) {
  if (x === null || x === undefined || !Number.isFinite(x)) return MISSING;
  const places = x === 0 ? 0 : 2 - Math.floor(Math.log10(Math.abs(x)));
  return places > 0 ? fixed(x, Math.min(places, 6)) : minus(count(Math.round(x)));
}

function count(n) {
  return n.toLocaleString('en');
}

function percent(x, places = 1) {
  return x === null || !Number.isFinite(x) ? MISSING : `${(100 * x).toFixed(places)}%`;
}

function probability(p) {
  return p === null || p === undefined ? MISSING : p < 0.001 ? '< 0.001' : significant(p, 3);
}

function margin(mean, low, high, sign = false) {
  const text = sign ? signed(mean) : fixed(mean);
  return low === null || low === undefined || high === null || high === undefined
    ? text
    : `${text} ± ${fixed((high - low) / 2)}`;
}

// A value of a column, by what its name says about its unit.
function shown(column, value) {
  if (value === null || value === undefined || value === '') return MISSING;
  if (typeof value !== 'number') return String(value);
  if (/accuracy|_f1|precision_|recall_|share|^difference|^gap/.test(column)) return fixed(value);
  if (/seconds/.test(column)) return seconds(value);
  if (/^p_/.test(column)) return probability(value);
  if (/bytes/.test(column)) return `${minus(String(Math.round(value / 1e6)))} MB`;
  return Number.isInteger(value) ? minus(String(value)) : significant(value);
}

function named(text) {
  return text === '' ? '(no name)' : text;
}

function short(text, length) {
  text = named(text);
  const points = [...text];
  if (points.length <= length) return text;
  const tail = Math.floor(length / 3);
  return `${points.slice(0, length - tail - 1).join('')}…${points.slice(-tail).join('')}`;
}

// Width of a text in a figure, in pixels; the font is that of page.css.
let ruler = null;
function widthOf(text) {
  if (!ruler) {
    ruler = document.createElement('canvas').getContext('2d');
    ruler.font = `12.5px ${getComputedStyle(document.body).fontFamily}`;
  }
  return ruler.measureText(text).width;
}

// A name cut in its middle so that it fits.
function fitted(text, width) {
  text = named(text);
  if (widthOf(text) <= width) return text;
  let length = [...text].length - 1;
  while (length > 4 && widthOf(short(text, length)) > width) length -= 1;
  return short(text, length);
}

function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
