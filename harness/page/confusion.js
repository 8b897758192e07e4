// Confusion matrices: true class by row, predicted class by column; as a table, so that it can be read cell by cell.

function classNamesOf(study, n) {
  const names = study.classNames;
  return Array.from({length: n}, (_, i) => (names && names[i]) || String(i));
}

// Shares of each true class.
function rowShares(matrix, n) {
  const shares = new Array(n * n).fill(0);
  for (let row = 0; row < n; row += 1) {
    let total = 0;
    for (let k = 0; k < n; k += 1) total += matrix[row * n + k] || 0;
    for (let k = 0; k < n; k += 1) shares[row * n + k] = total ? (matrix[row * n + k] || 0) / total : 0;
  }
  return shares;
}

// `values` by row; `tone(value, row, column)` gives a colour, `text` what stands in a cell, `full` its long form.
function matrixTable({names, values, tone, text, full, caption}) {
  const n = names.length;
  return el(
    'div',
    {class: 'scroller matrix', tabindex: '0', role: 'region', 'aria-label': caption},
    el('p', {class: 'caption'}, caption),
    el(
      'table',
      {class: 'confusion', 'aria-label': caption},
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          el('td', {class: 'corner'}, 'true \\ predicted'),
          names.map((name) => el('th', {scope: 'col', title: name}, el('span', {}, short(name, 11)))),
        ),
      ),
      el(
        'tbody',
        {},
        names.map((name, row) =>
          el(
            'tr',
            {},
            el('th', {scope: 'row', title: name}, short(name, 14)),
            names.map((other, column) => {
              const value = values[row * n + column];
              const colour = tone(value, row, column);
              const cell = el(
                'td',
                {
                  title: `${name} taken for ${other}: ${full(value, row, column)}`,
                  class: row === column ? 'diagonal' : null,
                },
                text(value, row, column),
              );
              cell.style.backgroundColor = css(colour);
              cell.style.color = inkOn(colour);
              return cell;
            }),
          ),
        ),
      ),
    ),
  );
}

function shareMatrix(study, matrix, caption) {
  const n = Math.round(Math.sqrt(matrix.length));
  const shares = rowShares(matrix, n);
  const names = classNamesOf(study, n);
  return matrixTable({
    names,
    values: shares,
    caption,
    tone: (value) => shade(Math.sqrt(value), isDark()),
    text: (value) => (value >= 0.0005 ? (100 * value).toFixed(value >= 0.0995 ? 0 : 1) : '·'),
    full: (value, row, column) => `${percent(value, 2)} (${count(matrix[row * n + column] || 0)} images)`,
  });
}

function countMatrix(study, matrix, caption) {
  const n = Math.round(Math.sqrt(matrix.length));
  const shares = rowShares(matrix, n);
  return matrixTable({
    names: classNamesOf(study, n),
    values: matrix,
    caption,
    tone: (_, row, column) => shade(Math.sqrt(shares[row * n + column]), isDark()),
    text: (value) => (value ? String(value) : '·'),
    full: (value, row, column) => `${count(value || 0)} images, ${percent(shares[row * n + column], 2)} of the class`,
  });
}

function differenceMatrix(study, matrix, reference, caption) {
  const n = Math.round(Math.sqrt(matrix.length));
  const [a, b] = [rowShares(matrix, n), rowShares(reference, n)];
  const gaps = a.map((value, i) => value - b[i]);
  const largest = Math.max(0.01, ...gaps.map(Math.abs));
  return matrixTable({
    names: classNamesOf(study, n),
    values: gaps,
    caption,
    tone: (value) => diverging(value / largest, isDark()),
    text: (value) => (Math.abs(value) < 0.0005 ? '·' : signed(100 * value, 1)),
    full: (value) => `${signed(100 * value, 2)} percentage points`,
  });
}

function confusionPart(study) {
  const splits = study.record.confusion;
  const state = {split: splits.test ? 'test' : 'val', mode: 'share'};
  const offered = Object.keys(splits[state.split])
    .map(Number)
    .sort((a, b) => a - b);
  state.variant = study.baseline !== null && offered.includes(study.baseline) ? study.baseline : offered[0];
  state.other = offered.find((variant) => variant !== state.variant) ?? state.variant;
  const host = el('div', {class: 'drawing'});
  const other = el('span');
  const draw = () => {
    const matrix = splits[state.split][state.variant];
    const where = state.split === 'test' ? 'test images' : 'validation images';
    other.hidden = state.mode !== 'difference';
    if (!matrix) {
      host.replaceChildren(el('p', {class: 'nothing'}, 'There is no matrix of this variant.'));
      return;
    }
    const name = named(study.names[state.variant]);
    const reference = splits[state.split][state.other];
    if (state.mode === 'difference' && (!reference || reference.length !== matrix.length))
      host.replaceChildren(el('p', {class: 'nothing'}, 'These two cannot be compared.'));
    else if (state.mode === 'difference')
      host.replaceChildren(
        differenceMatrix(
          study,
          matrix,
          reference,
          `${name} less ${named(study.names[state.other])}: percentage points of each true class, ${where}`,
        ),
      );
    else if (state.mode === 'count')
      host.replaceChildren(countMatrix(study, matrix, `${name}: ${where}, summed over seeds`));
    else host.replaceChildren(shareMatrix(study, matrix, `${name}: percent of each true class, ${where} of all seeds`));
  };
  const options = offered.map((variant) => [variant, short(study.names[variant], 40)]);
  const control = controls(state, draw);
  other.append(control.chooser('less', 'other', options));
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser('Variant', 'variant', options),
        control.switcher('Numbers', 'mode', [
          ['share', 'Percent'],
          ['count', 'Counts'],
          ['difference', 'Difference'],
        ]),
        other,
        Object.keys(splits).length > 1
          ? control.switcher('Images', 'split', [
              ['test', 'Test'],
              ['val', 'Validation'],
            ])
          : null,
      ),
      host,
      fileNote(study, 'details.npz'),
    ],
    draw,
  };
}
