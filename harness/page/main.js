// The page: one view at a time, named by the address; views are built when they are first shown, all of them for printing.

function start() {
  const studies = Array.from({length: COMMON.studies}, (_, place) => studyAt(place));
  const main = document.getElementById('main');
  const views = new Map([
    ['overview', () => overviewView(studies)],
    ...studies.map((study) => [viewId(study), () => studyView(study)]),
    ['compare', () => compareView(studies)],
  ]);
  const built = new Map();
  document.getElementById('nav').append(...navigation(studies));

  function view(name) {
    if (!built.has(name)) {
      const node = views.get(name)();
      built.set(name, node);
      main.append(node);
      drawings
        .filter(([owner]) => owner === node || (owner === null && name === 'overview'))
        .forEach(([, draw]) => draw());
    }
    return built.get(name);
  }

  // `moved`: by a link, whose place in the menu may be gone: the focus then follows to what is shown.
  function show(moved = false) {
    const wanted = location.hash.slice(1); // names of views and parts need no escapes
    const name = [...views.keys()].find((each) => wanted === each || wanted.startsWith(`${each}-`)) || 'overview';
    for (const node of built.values()) node.hidden = node !== built.get(name);
    const node = view(name);
    node.hidden = false;
    for (const link of document.querySelectorAll('#nav a')) {
      if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    for (const list of document.querySelectorAll('#nav .parts')) list.hidden = list.dataset.of !== name;
    document.body.classList.remove('menu-open');
    menu.setAttribute('aria-expanded', 'false');
    const target = wanted && wanted !== name ? document.getElementById(wanted) : null;
    if (target) target.scrollIntoView();
    else scrollTo(0, 0);
    if (moved) (target || node).querySelector('h2, h3').focus({preventScroll: true});
    document.title = `${node.querySelector('h2').textContent} – ablation-bench`;
  }

  function navigation() {
    const item = (name, text, small, parts = []) =>
      el(
        'li',
        {},
        el('a', {href: `#${name}`}, el('span', {}, text), small ? el('small', {}, small) : null),
        parts.length
          ? el(
              'ul',
              {class: 'parts', 'data-of': name, hidden: true},
              parts.map(([id, title]) => el('li', {}, el('a', {href: `#${name}-${id}`}, title))),
            )
          : null,
      );
    return [
      el(
        'ul',
        {},
        item('overview', 'Overview'),
        studies.map((study) => item(viewId(study), bdi(short(study.title, 40)), study.record.key, partsOf(study))),
        item('compare', 'Compare two runs'),
      ),
    ];
  }

  document.querySelector('.skip').addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
    main.scrollIntoView();
  });

  const menu = document.getElementById('menu');
  menu.addEventListener('click', () =>
    menu.setAttribute('aria-expanded', String(document.body.classList.toggle('menu-open'))),
  );

  const theme = document.getElementById('theme');
  const paintAgain = () => {
    theme.textContent = isDark() ? 'Light' : 'Dark';
    theme.setAttribute('aria-label', isDark() ? 'Light colours' : 'Dark colours');
    drawings.forEach(([owner, draw]) => {
      if (owner ? owner.isConnected : built.has('overview')) draw();
    });
  };
  theme.addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    try {
      localStorage.setItem('theme', document.documentElement.dataset.theme);
    } catch {
      /* a file may have no storage */
    }
    paintAgain();
  });
  try {
    const kept = localStorage.getItem('theme');
    if (kept === 'light' || kept === 'dark') document.documentElement.dataset.theme = kept;
  } catch {
    /* a file may have no storage */
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paintAgain);

  addEventListener('beforeprint', () => {
    printing = true;
    for (const name of views.keys()) view(name).hidden = false;
    for (const table of document.querySelectorAll('.table')) table.printable();
    paintAgain();
  });
  addEventListener('afterprint', () => {
    printing = false;
    show();
    paintAgain();
  });
  addEventListener('hashchange', () => show(true));
  theme.textContent = isDark() ? 'Light' : 'Dark';
  theme.setAttribute('aria-label', isDark() ? 'Light colours' : 'Dark colours');
  show();
  document.documentElement.dataset.ready = 'yes';
}

start();
