// What stands beside the results: findings, times, the machine, the commands, and what is missing.

function plainTable(title, packed) {
  const table = new Columns(packed.columns, packed.rows);
  const columns = table.names.map((name) => {
    const numeric = table.numeric(name);
    return {
      key: name,
      label: label(name),
      value: (row) => table.get(name)[row],
      numeric,
      text: numeric ? null : (row) => String(table.get(name)[row] ?? ''),
      show: (row) => shown(name, table.get(name)[row]),
    };
  });
  return dataTable({title, columns, rows: Array.from({length: packed.rows}, (_, i) => i), filter: packed.rows > 12});
}

function timingPart(study) {
  return {
    nodes: [
      plainTable('Times of one run at a time', study.record.timing),
      el(
        'p',
        {class: 'intro'},
        'One seed of each variant, trained again with no other run beside it: these are the times to compare.',
      ),
      fileNote(study, 'timing.csv'),
    ],
  };
}

const VERDICT_SIGNS = {
  held: '✓',
  'direction only': '↗',
  'too few seeds to say': '?',
  'not held': '✕',
  contradicted: '⇄',
};

function verdictTag(verdict) {
  const kind =
    verdict === 'held' ? 'status-good' : /^(not held|contradicted)$/.test(verdict) ? 'status-bad' : 'status-fair';
  return el(
    'span',
    {class: `verdict-tag ${kind}`},
    el('span', {'aria-hidden': 'true'}, `${VERDICT_SIGNS[verdict] || '·'} `),
    verdict || 'unknown',
  );
}

// Claims of a study with their verdicts: [number, text, verdict, rows].
function claimsOf(study) {
  const packed = study.record.findings;
  if (!packed) return [];
  const table = new Columns(packed.columns, packed.rows);
  const claims = new Map();
  for (let row = 0; row < packed.rows; row += 1) {
    const number = table.get('claim')[row] ?? row + 1;
    if (!claims.has(number))
      claims.set(number, {
        text: table.get('text')[row] ?? '',
        verdict: table.get('claim_verdict')[row] ?? table.get('verdict')[row] ?? '',
        rows: [],
      });
    claims.get(number).rows.push(row);
  }
  return [...claims.values()];
}

function findingsTable(study) {
  return [
    el(
      'ol',
      {class: 'claims'},
      claimsOf(study).map((claim) => el('li', {}, verdictTag(claim.verdict), ' ', bdi(String(claim.text)))),
    ),
    el('details', {}, el('summary', {}, 'Every comparison'), plainTable('Findings', study.record.findings)),
    fileNote(study, 'findings.csv'),
  ];
}

// The commands that make the tables of a study again.
function commandsOf(study) {
  const command = study.record.environment.command;
  if (typeof command !== 'string' || !command) return [];
  const tables = study.isSearch
    ? 'trials.csv, history.csv, importances.csv, winner.json'
    : `summary.csv, runs.csv, history.csv, classes.csv, details.npz${study.trials.rows ? ', trials.csv' : ''}`;
  const timed = study.record.timing
    ? [['timing.csv', command.includes('--timing') ? command : `${command} --timing`]]
    : [];
  return [[tables, command], ...timed, ['this page', COMMON.command]];
}

function environmentPart(study) {
  const {environment} = study.record;
  const facts = [];
  for (const [name, value] of Object.entries(environment)) {
    if (name === 'command') continue;
    if (value && typeof value === 'object')
      facts.push(
        ...Object.entries(value).map(([key, item]) => [
          key,
          item && typeof item === 'object' ? JSON.stringify(item) : item,
        ]),
      );
    else facts.push([name.replaceAll('_', ' '), value]);
  }
  for (const [name, title] of [
    ['data_fingerprint', 'data fingerprint'],
    ['code_version', 'code version'],
    ['engine', 'engine'],
    ['precision', 'precision'],
  ]) {
    const values = [...new Set(study.runs.get(name))].filter((value) => value !== null && value !== '');
    if (values.length) facts.push([title, values.slice(0, 4).join(', ')]);
  }
  return {
    nodes: [
      el(
        'dl',
        {class: 'commands'},
        commandsOf(study).map(([tables, command]) =>
          el('div', {}, el('dt', {}, tables), el('dd', {}, el('code', {}, command), copyButton(command))),
        ),
      ),
      facts.length
        ? el(
            'dl',
            {class: 'facts'},
            facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value ?? MISSING)))),
          )
        : null,
      any(environment) ? null : el('p', {class: 'nothing'}, 'There is no record of the machine.'),
    ],
  };
}

function problemList(problems) {
  return el(
    'ul',
    {class: 'problems'},
    problems.map((problem) => el('li', {}, problem)),
  );
}
