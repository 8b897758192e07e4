// The overview: every study with its question, what came out, and a small picture of it.

function overviewView(studies) {
  const problems = studies.flatMap((study) => study.problems.map((problem) => `${study.record.key}: ${problem}`));
  // Studies share runs: each counts once.
  const runs = new Map(
    studies.flatMap(({place, variantOf, runs: own}) =>
      variantOf.map((_, run) => [own.get('run_id')[run] || `${place} ${run}`, own.get('status')[run]]),
    ),
  );
  const statuses = [...runs.values(), ...studies.flatMap((study) => (study.isSearch ? study.statuses : []))];
  const trials = studies.reduce((sum, study) => sum + study.trials.rows, 0);
  const others = ['diverged', 'failed', 'pruned']
    .map((name) => [statuses.filter((status) => status === name).length, name])
    .filter(([n]) => n)
    .map(([n, name]) => `${count(n)} ${name}`);
  return el(
    'section',
    {class: 'view', id: 'overview', 'aria-labelledby': 'overview-title'},
    el(
      'header',
      {class: 'study-head'},
      el('h2', {id: 'overview-title', tabindex: '-1'}, 'Overview'),
      el(
        'p',
        {class: 'counts'},
        `${plural(studies.length, 'study', 'studies')}, ${plural(runs.size, 'run')}${trials ? ` and ${plural(trials, 'trial')}` : ''}${others.length ? `; ${others.join(', ')}` : ''}. Accuracies of studies are means over seeds with their 95% t intervals.`,
      ),
    ),
    problems.length
      ? el(
          'details',
          {class: 'missing', open: problems.length < 6},
          el('summary', {}, `Missing or damaged (${problems.length})`),
          problemList(problems),
        )
      : '',
    el('div', {class: 'cards'}, studies.map(studyCard)),
    el(
      'footer',
      {class: 'made'},
      el('p', {}, `Made by ablation-bench ${COMMON.version} with `, el('code', {}, COMMON.command), '.'),
    ),
  );
}

function studyCard(study) {
  const {record} = study;
  const picture = el('div', {class: 'mini'});
  const draw = live(picture, (place, width) =>
    study.isSearch ? courseChart(place, width, study, 150) : miniForest(place, width, study),
  );
  drawings.push([null, draw]);
  return el(
    'article',
    {class: 'card'},
    el('p', {class: 'path'}, `${record.study} · ${record.dataset}`),
    el('h3', {}, el('a', {href: `#${viewId(study)}`}, bdi(study.title))),
    record.question ? el('p', {class: 'question'}, bdi(record.question)) : null,
    picture,
    claimsOf(study).length
      ? el(
          'ul',
          {class: 'claims'},
          claimsOf(study).map((claim) =>
            el('li', {}, verdictTag(claim.verdict), ' ', bdi(short(String(claim.text), 160))),
          ),
        )
      : null,
    record.finding ? el('p', {class: 'finding'}, bdi(record.finding)) : el('p', {class: 'finding'}, bestWords(study)),
    el('p', {class: 'counts'}, statusWords(study)),
    study.problems.length
      ? el('p', {class: 'warn'}, `▲ ${plural(study.problems.length, 'thing')} missing or damaged`)
      : null,
  );
}

// What the numbers say, where nobody has written down a finding.
function bestWords(study) {
  if (study.isSearch) {
    const {winner} = study.record;
    return winner && winner.metrics
      ? [`Best: trial ${winner.trial}, validation accuracy ${fixed(winner.metrics.val_accuracy)}.`]
      : ['No winner yet.'];
  }
  const {summary} = study;
  const [best] = study.ranked;
  const mean = best === undefined ? null : summary.get('test_accuracy')[best];
  if (mean === null) return ['No run is done.'];
  const parts = [
    'Highest: ',
    el('strong', {}, bdi(named(study.names[best]))),
    ` with ${margin(mean, summary.get('test_accuracy_low')[best], summary.get('test_accuracy_high')[best])}`,
  ];
  if (study.baseline !== null && best !== study.baseline && summary.get('difference')[best] !== null) {
    parts.push(
      `, ${margin(summary.get('difference')[best], summary.get('difference_low')[best], summary.get('difference_high')[best], true)} against `,
      bdi(named(study.names[study.baseline])),
    );
  }
  return [...parts, '.'];
}

function miniForest(host, width, study) {
  const [mean, low, high] = ['test_accuracy', 'test_accuracy_low', 'test_accuracy_high'].map((name) =>
    study.summary.get(name),
  );
  const rows = study
    .usual(8)
    .filter((variant) => mean[variant] !== null)
    .slice(0, 8);
  const range = extent(rows.flatMap((variant) => [mean[variant], low[variant], high[variant]]));
  if (!range) return;
  const names = study.room(rows, width);
  const height = rows.length * 19 + 22;
  const pad = (range[1] - range[0]) * 0.08 || 0.005;
  const scale = linearScale(range[0] - pad, range[1] + pad, names, width - 6);
  const picture = svg('svg', {
    class: 'chart',
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: 'img',
    'aria-label': `Test accuracy: ${rows.map((variant) => `${study.names[variant]} ${margin(mean[variant], low[variant], high[variant])}`).join(', ')}`,
  });
  rows.forEach((variant, i) => {
    const y = 11 + i * 19;
    const {colour} = look(variant);
    picture.append(
      svg('line', {class: 'grid', x1: names, x2: width - 6, y1: y, y2: y}),
      svg(
        'text',
        {class: variant === study.baseline ? 'name base' : 'name', x: names - 8, y: y + 4, 'text-anchor': 'end'},
        fitted(study.label(variant), variant === study.baseline ? (names - 14) / 1.1 : names - 14),
      ),
    );
    if (low[variant] !== null)
      picture.append(
        svg('line', {
          class: 'whisker',
          x1: scale(low[variant]),
          x2: scale(high[variant]),
          y1: y,
          y2: y,
          stroke: colour,
        }),
      );
    picture.append(marker(variant, scale(mean[variant]), y, 4));
  });
  for (const [value, text] of scale.ticks(4))
    picture.append(
      svg('text', {x: within(scale(value), text.length * 3.4, width), y: height - 3, 'text-anchor': 'middle'}, text),
    );
  host.append(picture);
}
