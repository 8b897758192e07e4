// The data in the page: parsed once, columns unpacked when they are asked for. See harness/compact.py for the forms.

function parsed(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}

const COMMON = parsed('common');

function unpack(packed, rows) {
  if (!packed) return null;
  if ('c' in packed) return new Array(rows).fill(packed.c);
  if (packed.d) return packed.i.map((place) => packed.d[place]);
  return packed.n || packed.t;
}

function isNumeric(packed) {
  return Boolean(packed) && ('n' in packed || typeof packed.c === 'number');
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// A table of packed columns.
class Columns {
  constructor(packed, rows) {
    this.packed = packed || {};
    this.rows = rows;
    this.unpacked = new Map();
  }

  has(name) {
    return Object.hasOwn(this.packed, name);
  }

  get names() {
    return Object.keys(this.packed);
  }

  get(name) {
    if (!this.unpacked.has(name)) {
      const packed = this.has(name) ? this.packed[name] : null;
      this.unpacked.set(name, unpack(packed, this.rows) || new Array(this.rows).fill(null));
    }
    return this.unpacked.get(name);
  }

  numeric(name) {
    return this.has(name) && isNumeric(this.packed[name]);
  }

  varies(name) {
    return this.has(name) && !('c' in this.packed[name]);
  }
}

// Epochs of many runs, one after the other.
class History {
  constructor(packed) {
    this.packed = packed || {};
    this.starts = [0];
    for (const length of this.packed.length || []) this.starts.push(this.starts[this.starts.length - 1] + length);
  }

  get columns() {
    return Object.keys(this.packed).filter((name) => name !== 'length' && name !== 'epoch');
  }

  length(run) {
    return run + 1 < this.starts.length ? this.starts[run + 1] - this.starts[run] : 0;
  }

  epoch(run, i) {
    return this.packed.epoch ? this.packed.epoch[this.starts[run] + i] : i + 1;
  }

  value(column, run, i) {
    return this.packed[column] ? this.packed[column][this.starts[run] + i] : null;
  }
}

class Study {
  constructor(place) {
    this.place = place;
    this.record = parsed(`study-${place}`);
    this.names = this.record.variants || [];
    this.size = this.names.length;
    this.baseline = this.record.baseline;
    this.isSearch = this.record.kind === 'search';
    this.factors = this.record.factors || [];
    this.settings = this.record.settings || [];
    this.summary = new Columns(this.record.summary, this.size);
    const runs = this.record.runs || {variant: []};
    this.variantOf = runs.variant;
    this.runs = new Columns(runs.columns, runs.variant.length);
    this.history = new History(this.record.history);
    this.problems = this.record.problems || [];
    this.listeners = [];
    this.owned = null;
  }

  // A variant's name for a figure: keys of a grid without their sections.
  label(variant) {
    return this.names[variant].replace(/\b(?:hidden|optimizer|schedule|data)\.(?=\w+=)/g, '');
  }

  // Room for the names of variants beside a figure.
  room(variants, width) {
    return Math.min(
      Math.max(
        60,
        ...variants.map(
          (variant) =>
            widthOf(named(this.label(variant))) * (variant === this.baseline ? 1.12 : 1) +
            (variant === this.baseline ? 40 : 24),
        ),
      ),
      width * (width < 480 ? 0.48 : 0.42),
    );
  }

  get title() {
    return this.record.title || this.record.study;
  }

  get statuses() {
    return this.isSearch ? this.trials.get('status') : this.runs.get('status');
  }

  get trials() {
    if (!this.unpackedTrials) {
      this.unpackedTrials = new Columns(this.record.trials, this.record.n_trials || 0);
    }
    return this.unpackedTrials;
  }

  counts() {
    const counts = {};
    for (const status of this.statuses) counts[status || 'unknown'] = (counts[status || 'unknown'] || 0) + 1;
    return counts;
  }

  // Places of the runs of a variant.
  runsOf(variant) {
    if (!this.owned) {
      this.owned = this.names.map(() => []);
      this.variantOf.forEach((owner, run) => this.owned[owner].push(run));
    }
    return this.owned[variant] || [];
  }

  // Without runs.csv nothing says which are done: all are taken.
  doneRunsOf(variant) {
    const status = this.runs.get('status');
    return this.runsOf(variant).filter((run) => !this.runs.has('status') || status[run] === 'done');
  }

  // Variants by test accuracy, the best first; those without one at the end.
  get ranked() {
    const accuracy = this.summary.get('test_accuracy');
    const key = (variant) => (accuracy[variant] === null ? -Infinity : accuracy[variant]);
    return this.names.map((_, variant) => variant).sort((a, b) => key(b) - key(a) || a - b);
  }

  // The variants that all figures of the study show.
  get chosen() {
    if (!this.chosenVariants) this.choose(this.usual(), false);
    return this.chosenVariants;
  }

  usual(most = 10) {
    if (this.size <= most) return this.names.map((_, variant) => variant);
    const first = this.baseline === null ? [] : [this.baseline];
    return [...new Set([...first, ...this.ranked])].slice(0, 8);
  }

  choose(variants, tell = true) {
    this.chosenVariants = [...variants].sort((a, b) => a - b);
    if (tell) this.listeners.forEach((listener) => listener());
  }

  onchoice(listener) {
    this.listeners.push(listener);
  }

  get classNames() {
    const packed = this.record.classes;
    if (!packed) return null;
    const labels = unpack(packed.labels, 1);
    return unpack(packed.names, labels.length);
  }
}

const opened = new Map();

function studyAt(place) {
  if (!opened.has(place)) opened.set(place, new Study(place));
  return opened.get(place);
}
