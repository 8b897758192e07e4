// Which variants the figures of a study show: a button for each, or a search where there are too many.

const BUTTONS = 24;

function variantBar(study) {
  const bar = el('div', {class: 'variants', role: 'group', 'aria-label': 'Variants shown in the figures'});
  const several = (text, variants) =>
    el('button', {type: 'button', class: 'quiet', 'data-key': text, onclick: () => study.choose(variants)}, text);
  const draw = () => {
    const focused = bar.contains(document.activeElement) ? document.activeElement.dataset.key : null;
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
          ? several(
              'all',
              study.names.map((_, variant) => variant),
            )
          : null,
        study.size > 8 ? several('best 8', study.usual(8)) : null,
        several('none', []),
      ),
    );
    // What is gone, a variant taken out of a long list, leaves the focus to the first button.
    if (focused) (bar.querySelector(`[data-key="${focused}"]`) || bar.querySelector('button')).focus();
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
      'data-key': variant,
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
