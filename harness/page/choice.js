// Which variants the figures of a study show: a button for each, or a search where there are too many.

const BUTTONS = 24;

function variantBar(study) {
  const bar = el('div', {class: 'variants', role: 'group', 'aria-label': 'Variants shown in the figures'});
  const draw = () => {
    const focused = bar.contains(document.activeElement) ? document.activeElement.dataset.variant : null;
    const listed = study.size <= BUTTONS ? study.names.map((_, variant) => variant) : study.chosen;
    bar.replaceChildren(
      el(
        'span',
        {class: 'caption'},
        study.size <= BUTTONS ? 'Show' : `${study.chosen.length} of ${plural(study.size, 'variant')}`,
      ),
      ...listed.map((variant) => variantButton(study, variant)),
      ...(study.size > BUTTONS ? [variantSearch(study)] : []),
      el(
        'span',
        {class: 'group'},
        study.size <= BUTTONS
          ? el(
              'button',
              {type: 'button', class: 'quiet', onclick: () => study.choose(study.names.map((_, i) => i))},
              'all',
            )
          : null,
        study.size > 8
          ? el('button', {type: 'button', class: 'quiet', onclick: () => study.choose(study.usual(8))}, 'best 8')
          : null,
        el('button', {type: 'button', class: 'quiet', onclick: () => study.choose([])}, 'none'),
      ),
    );
    if (focused !== null) bar.querySelector(`[data-variant="${CSS.escape(focused)}"]`)?.focus();
  };
  study.onchoice(draw);
  draw();
  return bar;
}

function variantButton(study, variant) {
  const on = study.chosen.includes(variant);
  return el(
    'button',
    {
      type: 'button',
      class: 'variant',
      'aria-pressed': String(on),
      'data-variant': variant,
      title: named(study.names[variant]),
      onclick: () => study.choose(on ? study.chosen.filter((each) => each !== variant) : [...study.chosen, variant]),
    },
    swatch(variant),
    bdi(short(study.label(variant), 32)),
    variant === study.baseline ? el('span', {class: 'tag'}, 'baseline') : null,
  );
}

let searches = 0;

function variantSearch(study) {
  const id = `found-${(searches += 1)}`;
  const found = el('div', {class: 'found', id});
  const input = el('input', {
    type: 'search',
    placeholder: 'Add a variant',
    'aria-label': 'Find a variant to show',
    'aria-controls': id,
    oninput: () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const hits = words.length
        ? study.ranked.filter((variant) => words.every((word) => study.names[variant].toLowerCase().includes(word)))
        : [];
      found.replaceChildren(
        ...hits
          .filter((variant) => !study.chosen.includes(variant))
          .slice(0, 12)
          .map((variant) => variantButton(study, variant)),
      );
    },
  });
  return el('span', {class: 'search'}, input, found);
}
