// Tables that can be sorted and filtered; of a long one only the rows in view exist.

const ROW_HEIGHT = 33;
const WHOLE = 60; // rows up to which a table is there as a whole

// `columns`: {key, label, value(row), show(row)?, text(row)?, numeric?, note?, sort?}; a row is a number.
function dataTable({title, columns, rows, filter = true, attributes = null, limit = 560}) {
  const state = {sort: null, down: false, rows: [...rows], text: ''};
  const body = el('tbody');
  const head = el('tr');
  const table = el(
    'table',
    {class: 'data', 'aria-label': title, 'aria-rowcount': rows.length + 1},
    el('thead', {}, head),
    body,
  );
  const scroller = el('div', {class: 'scroller', tabindex: '0', role: 'region', 'aria-label': title}, table);
  const status = el('span', {class: 'status', role: 'status'});
  const heads = columns.map((column) => {
    const button = el(
      'button',
      {type: 'button', title: column.note || null, onclick: () => sortBy(column)},
      column.label,
      el('span', {class: 'arrow', 'aria-hidden': 'true'}),
    );
    const cell = el(
      'th',
      {scope: 'col', class: column.numeric ? 'number' : null, 'aria-sort': column.value ? 'none' : null},
      column.value ? button : column.label,
    );
    head.append(cell);
    return cell;
  });
  const input = el('input', {
    type: 'search',
    placeholder: 'Filter: words, test_accuracy>0.89',
    'aria-label': `Filter ${title}`,
    spellcheck: 'false',
    oninput: () => {
      state.text = input.value;
      update();
    },
  });

  function sortBy(column) {
    if (state.sort === column) state.down = !state.down;
    else {
      state.sort = column;
      state.down = Boolean(column.numeric);
    }
    heads.forEach((cell, i) => {
      if (columns[i].value)
        cell.setAttribute('aria-sort', columns[i] !== state.sort ? 'none' : state.down ? 'descending' : 'ascending');
    });
    update();
  }

  function update() {
    const filtered = state.text.trim() ? makeFilter(state.text, columns) : {test: () => true};
    input.setAttribute('aria-invalid', String(Boolean(filtered.error)));
    if (filtered.error) {
      status.textContent = filtered.error;
      return;
    }
    state.rows = rows.filter(filtered.test);
    const by = state.sort;
    if (by) {
      const keys = new Map(state.rows.map((row) => [row, by.sort ? by.sort(row) : by.value(row)]));
      const missing = (key) => key === null || key === undefined || key === '';
      const compare = (a, b) =>
        typeof a === 'number' && typeof b === 'number'
          ? a - b
          : String(a).localeCompare(String(b), 'en', {numeric: true});
      state.rows.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return state.down ? compare(y, x) : compare(x, y);
      });
    }
    status.textContent =
      state.rows.length === rows.length
        ? plural(rows.length, 'row')
        : `${count(state.rows.length)} of ${plural(rows.length, 'row')}`;
    scroller.scrollTop = 0;
    draw(true);
  }

  function rowElement(row, i) {
    return el(
      'tr',
      {'aria-rowindex': i + 2, 'data-row': row, ...(attributes ? attributes(row) : {})},
      columns.map((column, n) => {
        const content = column.show ? column.show(row) : shown(column.key, column.value(row));
        const plain = typeof content === 'string';
        return el(
          n === 0 ? 'th' : 'td',
          {
            class: column.numeric ? 'number' : null,
            scope: n === 0 ? 'row' : null,
            title: plain && content.length > 30 ? content : null,
          },
          content,
        );
      }),
    );
  }

  let first = -1;
  let last = -1;
  function draw(force, all = false) {
    const long = state.rows.length > WHOLE && !all;
    scroller.classList.toggle('long', long);
    const view = long ? Math.ceil(limit / ROW_HEIGHT) : state.rows.length;
    const from = long ? Math.max(0, Math.floor(scroller.scrollTop / ROW_HEIGHT) - 10) : 0;
    const to = Math.min(state.rows.length, from + view + 20);
    if (!force && from === first && to === last) return;
    [first, last] = [from, to];
    const focused = body.contains(document.activeElement) ? placeOf(document.activeElement) : null;
    const space = (n) => (n > 0 ? [spacer(n)] : []);
    body.replaceChildren(
      ...space(from),
      ...state.rows.slice(from, to).map((row, i) => rowElement(row, from + i)),
      ...space(state.rows.length - to),
    );
    if (focused) {
      const row = body.querySelector(`[data-row="${focused.row}"]`);
      (row?.querySelectorAll('button')[focused.button] || scroller).focus({preventScroll: true});
    }
  }

  function placeOf(button) {
    const row = button.closest('tr');
    return {row: row.dataset.row, button: [...row.querySelectorAll('button')].indexOf(button)};
  }

  function spacer(n) {
    const row = el('tr', {class: 'spacer', 'aria-hidden': 'true'}, el('td', {colspan: columns.length}));
    row.style.height = `${n * ROW_HEIGHT}px`;
    return row;
  }

  scroller.addEventListener('scroll', () => draw(false), {passive: true});
  scroller.style.maxHeight = `${limit}px`;
  const bar = filter ? el('div', {class: 'table-bar'}, input, status) : null;
  update();
  const root = el('div', {class: 'table'}, bar, scroller);
  root.printable = () => {
    if (state.rows.length > WHOLE) {
      state.rows.length > 400 ? draw(true) : draw(true, true);
    }
  };
  return root;
}
