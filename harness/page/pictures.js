// Pictures: the images that a network was surest of and wrong, and the weights of the first layer.

function paint(canvas, shape, at, toColour) {
  const [channels, height, width] = shape.length === 3 ? shape : [1, ...shape];
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    const values = Array.from({length: channels}, (_, k) => at(k * width * height + i));
    const [r, g, b] = toColour(values);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function errorsPart(study) {
  const {errors, images} = study.record;
  const offered = Object.keys(errors)
    .map(Number)
    .sort((a, b) => a - b);
  const pixels = images ? bytes(images.data) : null;
  const place = images ? new Map(images.rows.map((row, i) => [row, i])) : new Map();
  const state = {variant: offered.includes(study.baseline) ? study.baseline : offered[0]};
  const host = el('ol', {class: 'gallery'});
  const draw = () => {
    const list = errors[state.variant] || [];
    const names = classNamesOf(study, 1 + Math.max(0, ...list.flatMap((each) => [each[1], each[2]])));
    host.replaceChildren(
      ...list.map(([row, truth, guess, probability_]) => {
        const said = `${names[truth]} taken for ${names[guess]}, ${percent(probability_, 2)} sure, image ${row}`;
        let picture = el('div', {class: 'no-image'}, `№ ${row}`);
        if (place.has(row)) {
          const size = images.shape.reduce((a, b) => a * b, 1);
          picture = el('canvas', {role: 'img', 'aria-label': said});
          paint(
            picture,
            images.shape,
            (i) => pixels[place.get(row) * size + i],
            (values) => (values.length === 3 ? values : [255 - values[0], 255 - values[0], 255 - values[0]]),
          );
        }
        return el(
          'li',
          {title: said},
          picture,
          el('span', {}, el('strong', {}, names[truth]), el('br'), `→ ${names[guess]}`),
          el('span', {class: 'faded'}, percent(probability_, 2)),
        );
      }),
    );
    if (!list.length) host.replaceChildren(el('li', {class: 'nothing'}, 'This variant made no mistake that is kept.'));
  };
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser(
          'Variant',
          'variant',
          offered.map((variant) => [variant, short(study.names[variant], 40)]),
        ),
      ),
      host,
      el(
        'p',
        {class: 'intro'},
        'Test images of the first seed: true class → prediction, and the probability that the network gave it. ',
        images
          ? null
          : 'The pictures are not here: the tables do not hold them, and the data set was not on the machine that built this page. Numbers are rows of the data.',
      ),
      fileNote(study, 'details.npz'),
    ],
    draw,
  };
}

function weightsPart(study) {
  const {weights} = study.record;
  const offered = Object.keys(weights)
    .map(Number)
    .sort((a, b) => a - b);
  const state = {variant: offered.includes(study.baseline) ? study.baseline : offered[0], own: false};
  const host = el('div', {class: 'filters'});
  const note = el('span', {});
  const draw = () => {
    const packed = weights[state.variant];
    const codes = new Int8Array(bytes(packed.data).buffer);
    const size = packed.shape.reduce((a, b) => a * b, 1);
    const dark = isDark();
    const colours = Array.from({length: 255}, (_, i) => diverging((i - 127) / 127, dark));
    host.replaceChildren(
      ...packed.units.map((unit, k) => {
        const canvas = el('canvas', {role: 'img', 'aria-label': `Weights of unit ${unit}`, title: `unit ${unit}`});
        const own = codes.subarray(k * size, (k + 1) * size);
        const largest = state.own ? Math.max(1, ...own.map(Math.abs)) / 127 : 1;
        paint(
          canvas,
          packed.shape,
          (i) => own[i] / largest,
          (values) => (values.length === 3 ? values.map((value) => 128 + value) : colours[Math.round(values[0]) + 127]),
        );
        return canvas;
      }),
    );
    const colour =
      packed.shape.length === 3
        ? 'Grey is 0, colours show the three channels.'
        : 'Blue is positive, orange negative, the background is 0.';
    note.textContent = `${packed.units.length < packed.of ? `The ${packed.units.length} of ${packed.of} units with the largest norm` : `All ${packed.of} units`}, first seed. ${colour} The largest weight is ±${significant(packed.largest, 3)}.`;
  };
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.chooser(
          'Variant',
          'variant',
          offered.map((variant) => [variant, short(study.names[variant], 40)]),
        ),
        control.toggle('Scale each unit by itself', 'own'),
      ),
      host,
      el('p', {class: 'intro'}, note),
      fileNote(study, 'details.npz'),
    ],
    draw,
  };
}
