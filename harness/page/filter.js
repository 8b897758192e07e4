// Filters of tables: words that a row must hold, and conditions such as test_accuracy>0.89 or status=diverged.

const CONDITION = /^(.+?)(>=|<=|!=|=|>|<)(.*)$/;

// Parts of a filter; quotation marks keep spaces together, those around a sign outside of them do not count.
function filterParts(text) {
  const pieces = text.split(/("[^"]*"?)/);
  text = pieces.map((piece, i) => (i % 2 ? piece : piece.replace(/\s*(>=|<=|!=|=|>|<)\s*/g, '$1'))).join('');
  return (text.match(/(?:"[^"]*"?|[^\s"])+/g) || []).map((part) => part.replaceAll('"', ''));
}

// A test of rows, or {error}. `columns` are those of a table (see table.js).
function makeFilter(text, columns) {
  const tests = [];
  for (const part of filterParts(text)) {
    const match = CONDITION.exec(part);
    if (match) {
      const wanted = match[1].toLowerCase();
      const column =
        columns.find((each) => each.key.toLowerCase() === wanted) ||
        columns.find((each) => each.label.toLowerCase() === wanted) ||
        columns.find((each) => each.key.toLowerCase().includes(wanted) || each.label.toLowerCase().includes(wanted));
      if (!column) return {error: `No column is called “${match[1]}”.`};
      tests.push(condition(column, match[2], match[3]));
    } else {
      const word = part.toLowerCase();
      tests.push((row) =>
        columns.some((column) => column.text && String(column.text(row)).toLowerCase().includes(word)),
      );
    }
  }
  return {test: (row) => tests.every((test) => test(row))};
}

function condition(column, sign, wanted) {
  const number = wanted.trim() === '' ? NaN : Number(wanted);
  if (Number.isFinite(number)) {
    const compare = {
      '>': (a) => a > number,
      '<': (a) => a < number,
      '>=': (a) => a >= number,
      '<=': (a) => a <= number,
      '=': (a) => a === number,
      '!=': (a) => a !== number,
    }[sign];
    return (row) => {
      const value = column.value(row);
      return typeof value === 'number' ? compare(value) : sign === '!=' || (sign === '=' && String(value) === wanted);
    };
  }
  const word = wanted.toLowerCase();
  const same = (row) => String(column.text ? column.text(row) : (column.value(row) ?? '')).toLowerCase() === word;
  return sign === '!=' ? (row) => !same(row) : same;
}
