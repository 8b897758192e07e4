// The page of one study: its question and answer, and then its parts, those for which there are data.

function gridAxes(study) {
  return gridFactors(study).map((factor) => makeAxis(factor.name, factor.values));
}

function parallelOf(study) {
  if (study.isSearch) {
    const {trials} = study;
    const axes = study.record.parameters
      .filter((name) => trials.has(name))
      .map((name) => makeAxis(name, trials.get(name)));
    const status = trials.get('status');
    return parallelPart({
      axes,
      result: makeAxis('val_accuracy', trials.get('val_accuracy')),
      names: Array.from({length: trials.rows}, (_, row) => trialName(study, row)),
      done: (row) => status[row] === 'done',
      note: 'A line for each trial, dashed if stopped early; the more it stands out, the higher its validation accuracy. Drag along an axis to keep a range, click it to drop the range.',
      file: fileNote(study, 'trials.csv'),
    });
  }
  return parallelPart({
    axes: gridAxes(study),
    result: makeAxis('test_accuracy', study.summary.get('test_accuracy')),
    names: study.names,
    done: null,
    note: 'A line for each cell; the more it stands out, the higher its test accuracy. Drag along an axis to keep a range, click it to drop the range.',
    file: fileNote(study, 'summary.csv'),
  });
}

function any(object) {
  return Boolean(object) && Object.keys(object).length > 0;
}

// Whether there are trials of several values of something: of a search, or of the settings of a study's variants.
function tunes(study) {
  return (study.record.parameters || []).some((name) => study.trials.varies(name));
}

// [id, title, whether there are data, what builds it]
const STUDY_PARTS = [
  ['result', 'Result', (s) => any(s.record.summary), resultsPart],
  ['grid', 'Heat map', (s) => any(s.record.summary) && hasGrid(s), gridPart],
  ['response', 'Response', (s) => any(s.record.summary) && hasResponse(s), responsePart],
  ['tuning', 'Response of the trials', (s) => tunes(s), trialResponsePart],
  ['curves', 'Learning curves', (s) => s.history.columns.length > 0, curvesPart],
  [
    'budget',
    'Accuracy against time',
    (s) => s.history.columns.includes('val_accuracy') && s.history.columns.includes('train_seconds'),
    budgetPart,
  ],
  [
    'spread',
    'Distribution over seeds',
    (s) => SPREADS.some((name) => s.runs.varies(name) && s.runs.numeric(name)),
    spreadPart,
  ],
  ['confusion', 'Confusion', (s) => any(s.record.confusion), confusionPart],
  ['classes', 'Classes', (s) => Boolean(s.record.classes) && s.record.classes.variant.length > 0, classesPart],
  ['layers', 'Layers', (s) => any(s.record.layers) && any(s.record.layers.kinds), layersPart],
  [
    'histograms',
    'Weights and activations',
    (s) => any(s.record.histograms) && any(s.record.histograms.variants),
    histogramsPart,
  ],
  ['errors', 'Surest errors', (s) => any(s.record.errors), errorsPart],
  ['weights', 'First layer', (s) => any(s.record.weights), weightsPart],
  ['parallel', 'Parallel coordinates', (s) => any(s.record.summary) && gridFactors(s).length > 1, parallelOf],
  ['timing', 'Times alone', (s) => Boolean(s.record.timing), timingPart],
  ['runs', 'Runs', (s) => s.variantOf.length > 0, runsPart],
  ['trials', 'Trials', (s) => s.trials.rows > 0, trialsPart],
  ['environment', 'Commands and environment', () => true, environmentPart],
];

const SEARCH_PARTS = [
  ['winner', 'Winner', () => true, (s) => ({nodes: winnerNodes(s)})],
  ['course', 'Course', (s) => s.trials.rows > 0, coursePart],
  ['importances', 'Importances', (s) => Boolean(s.record.importances) && s.record.importances.rows > 0, importancePart],
  ['response', 'Response', (s) => tunes(s), trialResponsePart],
  [
    'parallel',
    'Parallel coordinates',
    (s) => s.trials.rows > 0 && s.record.parameters.some((name) => s.trials.has(name)),
    parallelOf,
  ],
  ['curves', 'Learning curves', (s) => s.history.columns.includes('val_accuracy'), trialCurvesPart],
  ['trials', 'Trials', (s) => s.trials.rows > 0, trialsPart],
  ['environment', 'Commands and environment', () => true, environmentPart],
];

function partsOf(study) {
  return (study.isSearch ? SEARCH_PARTS : STUDY_PARTS).filter(([, , there]) => there(study));
}

function statusWords(study) {
  const counts = study.counts();
  const order = ['done', 'pruned', 'diverged', 'failed', 'unknown'];
  return order
    .filter((name) => counts[name])
    .map((name) => el('span', {class: 'count'}, `${count(counts[name])} `, statusCell(name)));
}

function studyView(study) {
  const {record} = study;
  const view = el('section', {class: 'view', id: viewId(study), 'aria-labelledby': `${viewId(study)}-title`});
  const trials = plural(study.trials.rows, 'trial');
  const runs = study.isSearch ? trials : plural(study.variantOf.length, 'run');
  const texts = [
    ['Question', record.question],
    ['Expectation', record.expectation],
    ['Finding', record.finding],
  ].filter(([, text]) => text);
  view.append(
    el(
      'header',
      {class: 'study-head'},
      el('p', {class: 'path'}, `${record.study} · ${record.dataset}`),
      el('h2', {id: `${viewId(study)}-title`, tabindex: '-1'}, bdi(study.title)),
      el(
        'p',
        {class: 'counts'},
        study.isSearch ? null : `${plural(study.size, 'variant')}, `,
        `${runs}${study.statuses.length ? ': ' : '.'}`,
        statusWords(study),
        !study.isSearch && study.trials.rows ? ` Tuned by ${trials}.` : null,
      ),
      texts.length
        ? el(
            'dl',
            {class: 'texts'},
            texts.map(([name, text]) =>
              el('div', {class: name.toLowerCase()}, el('dt', {}, name), el('dd', {}, bdi(text))),
            ),
          )
        : null,
      record.findings && record.findings.rows
        ? el('details', {open: true}, el('summary', {}, 'Claims and verdicts'), findingsTable(study))
        : null,
    ),
    study.problems.length
      ? el(
          'details',
          {class: 'missing', open: true},
          el('summary', {}, `Missing or damaged (${study.problems.length})`),
          problemList(study.problems),
        )
      : '',
    study.isSearch || !study.size ? '' : variantBar(study),
  );
  for (const [id, title, , build] of partsOf(study)) {
    const heading = `${viewId(study)}-${id}`;
    const card = el(
      'section',
      {class: 'part', id: heading, 'aria-labelledby': `${heading}-title`},
      el('h3', {id: `${heading}-title`, tabindex: '-1'}, title),
    );
    view.append(card);
    let part;
    try {
      part = build(study);
    } catch (error) {
      card.append(
        el(
          'p',
          {class: 'nothing'},
          `This part cannot be shown: the data are not what they should be (${error.message}).`,
        ),
      );
      continue;
    }
    card.append(...part.nodes.filter(Boolean));
    if (part.draw) drawings.push([view, part.draw]);
  }
  return view;
}

// Drawings by the view they are in; a drawing needs the width of its place, so it is made once the view is on the page.
const drawings = [];

function viewId(study) {
  return `study-view-${study.place}`;
}
