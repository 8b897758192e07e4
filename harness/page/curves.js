// Learning curves: the mean over seeds by epoch or by seconds, with the 95% t interval of the mean as a band.

const CURVES = [
  'val_accuracy',
  'val_error',
  'val_loss',
  'train_accuracy',
  'train_error',
  'train_loss',
  'lr',
  'penalty',
];
const ERRORS = {val_error: 'val_accuracy', train_error: 'train_accuracy'};

// The mean of a variant's done runs at each epoch: {epoch, seconds, mean, low, high}.
function meanCurve(study, variant, metric) {
  const {history} = study;
  const source = ERRORS[metric] || metric;
  const by = new Map();
  for (const run of study.doneRunsOf(variant)) {
    for (let i = 0; i < history.length(run); i += 1) {
      const value = history.value(source, run, i);
      if (value === null) continue;
      const epoch = history.epoch(run, i);
      if (!by.has(epoch)) by.set(epoch, {values: [], seconds: []});
      by.get(epoch).values.push(ERRORS[metric] ? 1 - value : value);
      by.get(epoch).seconds.push(history.value('train_seconds', run, i));
    }
  }
  const epochs = [...by.keys()].sort((a, b) => a - b);
  const intervals = epochs.map((epoch) => interval(by.get(epoch).values));
  return {
    epoch: epochs,
    seconds: epochs.map((epoch) => interval(by.get(epoch).seconds).mean),
    mean: intervals.map((each) => each.mean),
    low: intervals.map((each) => each.low),
    high: intervals.map((each) => each.high),
  };
}

function curvesPart(study) {
  const available = CURVES.filter((name) => study.history.columns.includes(ERRORS[name] || name));
  const state = {metric: available[0], by: 'epoch', scale: 'linear', seeds: false, zoom: false};
  const host = el('div', {class: 'drawing'});
  const draw = live(host, (place, width) => {
    const accuracy = /accuracy/.test(state.metric);
    const series = study.chosen.flatMap((variant) => {
      const curve = meanCurve(study, variant, state.metric);
      const main = {
        place: variant,
        name: study.label(variant),
        x: curve[state.by],
        y: curve.mean,
        low: curve.low,
        high: curve.high,
      };
      return [...(state.seeds ? seedLines(study, variant, state) : []), main];
    });
    lineChart(place, width, {
      series,
      title: `${label(state.metric)} by ${state.by} of ${plural(study.chosen.length, 'variant')}; arrow keys read it out`,
      zoom: state.zoom,
      x: {
        label: state.by === 'epoch' ? 'Epoch' : 'Seconds in training steps (mean over the done runs)',
        kind: 'linear',
        exact: state.by === 'epoch',
        whole: state.by === 'epoch',
        say: (value) => (state.by === 'epoch' ? `Epoch ${value}` : `${seconds(value)} s`),
      },
      y: {
        label: label(state.metric),
        kind: state.scale,
        say: (value) => (/accuracy|error/.test(state.metric) ? fixed(value) : significant(value)),
        floor: accuracy ? 0 : undefined,
        ceiling: accuracy ? 1 : undefined,
      },
    });
  });
  study.onchoice(draw);
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser('Quantity', 'metric', labelled(available)),
        control.switcher('Horizontal axis', 'by', [
          ['epoch', 'Epochs'],
          ['seconds', 'Seconds'],
        ]),
        control.switcher('Vertical axis', 'scale', SCALES),
        control.toggle('Single runs', 'seeds'),
        control.toggle('Zoom to the end', 'zoom'),
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Lines: means over the done runs. Bands: 95% t intervals of the means. ',
        jobsNote(study),
      ),
      fileNote(study, 'history.csv'),
    ],
    draw,
  };
}

function seedLines(study, variant, state) {
  const source = ERRORS[state.metric] || state.metric;
  return study.runsOf(variant).map((run) => {
    const places = Array.from({length: study.history.length(run)}, (_, i) => i);
    return {
      place: variant,
      thin: true,
      x: places.map((i) =>
        state.by === 'epoch' ? study.history.epoch(run, i) : study.history.value('train_seconds', run, i),
      ),
      y: places.map((i) => {
        const value = study.history.value(source, run, i);
        return value !== null && ERRORS[state.metric] ? 1 - value : value;
      }),
    };
  });
}

function jobsNote(study) {
  const jobs = [...new Set(study.runs.get('jobs'))].filter((value) => value !== null);
  if (!jobs.length) return null;
  return jobs.every((value) => value === 1)
    ? 'Runs were made one at a time.'
    : `Seconds are those of ${jobs.join(' or ')} runs side by side, which is slower than one alone.`;
}
