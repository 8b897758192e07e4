// Elements. Names and values of studies become text nodes and attributes, never markup.

const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

// A name from a study, kept apart from the direction of the text around it.
function bdi(text) {
  return el('bdi', {}, text);
}

// A drawing that follows the width of its place. `draw(host, width)` fills an empty host.
function live(host, draw) {
  let width = -1;
  const render = () => {
    width = host.clientWidth;
    host.replaceChildren();
    draw(host, Math.max(width || 680, 240));
  };
  new ResizeObserver(() => {
    if (width >= 0 && host.clientWidth > 0 && Math.abs(host.clientWidth - width) > 1) requestAnimationFrame(render);
  }).observe(host);
  return render;
}

// Controls of parts of a state: they show `state[key]`, a new value takes its place, and the drawing follows.
function controls(state, draw) {
  const set = (key) => (value) => {
    state[key] = value;
    draw();
  };
  return {
    toggle: (text, key) => toggle(text, state[key], set(key)),
    switcher: (text, key, options) => switcher(text, options, state[key], set(key)),
    chooser: (text, key, options) => chooser(text, options, state[key], set(key)),
  };
}

const SCALES = [
  ['linear', 'Linear'],
  ['log', 'Log'],
];

// Options by the names of columns.
function labelled(names) {
  return names.map((name) => [name, label(name)]);
}

// One of several: buttons of which exactly one is pressed. `options` are [value, label] pairs.
function switcher(label, options, chosen, onchange) {
  const buttons = options.map(([value, text]) =>
    el(
      'button',
      {
        type: 'button',
        'aria-pressed': String(value === chosen),
        'data-value': value,
        onclick: () => {
          buttons.forEach((each, i) => each.setAttribute('aria-pressed', String(options[i][0] === value)));
          onchange(value);
        },
      },
      text,
    ),
  );
  return el('div', {class: 'switcher', role: 'group', 'aria-label': label}, buttons);
}

function toggle(text, pressed, onchange) {
  const button = el(
    'button',
    {
      type: 'button',
      class: 'toggle',
      'aria-pressed': String(pressed),
      onclick: () => {
        const now = button.getAttribute('aria-pressed') !== 'true';
        button.setAttribute('aria-pressed', String(now));
        onchange(now);
      },
    },
    text,
  );
  return button;
}

let fields = 0;

// A labelled list to choose from.
function chooser(label, options, chosen, onchange) {
  const id = `field-${(fields += 1)}`;
  const select = el(
    'select',
    {id, onchange: () => onchange(options[select.selectedIndex][0])},
    options.map(([value, text]) => el('option', {selected: value === chosen}, text)),
  );
  return el('label', {class: 'field', for: id}, el('span', {}, label), select);
}

function copyButton(text) {
  const button = el(
    'button',
    {
      type: 'button',
      class: 'quiet',
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = 'Copied';
        } catch {
          button.textContent = 'Select and copy by hand';
        }
        setTimeout(() => {
          button.textContent = 'Copy';
        }, 1500);
      },
    },
    'Copy',
  );
  return button;
}
