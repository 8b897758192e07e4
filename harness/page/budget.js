// Accuracy against time: the validation accuracy that a variant has after so many seconds of training, and who leads.

const BUDGETS = 120;

// Validation accuracy of each done run of a variant, as steps in time.
function steps(study, variant) {
  const {history} = study;
  return study
    .doneRunsOf(variant)
    .map((run) => {
      const times = [];
      const values = [];
      for (let i = 0; i < history.length(run); i += 1) {
        const [time, value] = [history.value('train_seconds', run, i), history.value('val_accuracy', run, i)];
        if (time !== null && value !== null) {
          times.push(time);
          values.push(value);
        }
      }
      return {seed: study.runs.get('seed')[run], times, values};
    })
    .filter((run) => run.times.length);
}

function valueAt(run, budget) {
  let i = run.times.length - 1;
  while (i >= 0 && run.times[i] > budget) i -= 1;
  return i < 0 ? null : run.values[i];
}

// For each budget the leader, and whether its lead over the runner-up is more than chance (95% t interval of the paired difference).
function leaders(all, budgets) {
  return budgets.map((budget) => {
    const standing = all
      .map(({variant, runs}) => {
        const values = runs.map((run) => valueAt(run, budget));
        return values.includes(null) ? null : {variant, runs, mean: interval(values).mean};
      })
      .filter(Boolean)
      .sort((a, b) => b.mean - a.mean);
    if (!standing.length) return null;
    const [first, second] = standing;
    let clear = false;
    if (second) {
      const other = new Map(second.runs.map((run) => [run.seed, valueAt(run, budget)]));
      const gap = interval(
        first.runs.filter((run) => other.has(run.seed)).map((run) => valueAt(run, budget) - other.get(run.seed)),
      );
      clear = gap.low !== null && gap.low > 0;
    }
    return {variant: first.variant, clear, second: second ? second.variant : null};
  });
}

// Stretches of budgets: of one clear leader, or of nobody's, with those who are in front there.
function reigns(standing, budgets) {
  const parts = [];
  standing.forEach((each, i) => {
    if (!each) return;
    const last = parts[parts.length - 1];
    const clear = each.clear ? each.variant : null;
    if (last && last.clear === clear) {
      last.to = i;
      last.front.add(each.variant);
    } else parts.push({clear, front: new Set([each.variant]), from: i, to: i});
  });
  return parts.map((part) => ({
    ...part,
    start: budgets[part.from],
    end: budgets[Math.min(part.to + 1, budgets.length - 1)],
  }));
}

function budgetPart(study) {
  const state = {scale: 'log', zoom: true};
  const host = el('div', {class: 'drawing'});
  const words = el('p', {class: 'verdict', role: 'status'});
  const draw = live(host, (place, width) => {
    const all = study.chosen
      .map((variant) => ({variant, runs: steps(study, variant)}))
      .filter((each) => each.runs.length);
    const range = extent(
      all
        .flatMap((each) => each.runs.flatMap((run) => [run.times[0], run.times[run.times.length - 1]]))
        .filter((time) => time > 0),
    );
    words.textContent = '';
    if (!range) {
      place.append(el('p', {class: 'nothing'}, 'No done run of the chosen variants has times.'));
      return;
    }
    const share = (i) => i / (BUDGETS - 1);
    const budgets = Array.from({length: BUDGETS}, (_, i) =>
      state.scale === 'log'
        ? range[0] * (range[1] / range[0]) ** share(i)
        : range[0] + (range[1] - range[0]) * share(i),
    );
    const series = all.map(({variant, runs}) => {
      const at = budgets.map((budget) =>
        interval(
          runs.map((run) => valueAt(run, budget)).every((value) => value !== null)
            ? runs.map((run) => valueAt(run, budget))
            : [],
        ),
      );
      return {
        place: variant,
        name: study.label(variant),
        x: budgets,
        y: at.map((each) => each.mean),
        low: at.map((each) => each.low),
        high: at.map((each) => each.high),
      };
    });
    const chart = lineChart(place, width, {
      series,
      zoom: state.zoom,
      title: 'Validation accuracy by seconds of training',
      x: {label: 'Budget: seconds in training steps', kind: state.scale, say: (value) => `${seconds(value)} s`},
      y: {label: 'Validation accuracy', kind: 'linear', say: fixed, floor: 0, ceiling: 1},
    });
    const parts = reigns(leaders(all, budgets), budgets);
    if (chart) chart.picture.after(reignBar(study, width, parts, budgets, chart));
    words.replaceChildren(...reignWords(study, parts));
  });
  study.onchoice(draw);
  const control = controls(state, draw);
  return {
    nodes: [
      el(
        'div',
        {class: 'controls'},
        control.switcher('Horizontal axis', 'scale', [
          ['log', 'Log'],
          ['linear', 'Linear'],
        ]),
        control.toggle('Zoom to the end', 'zoom'),
      ),
      host,
      words,
      el(
        'p',
        {class: 'intro'},
        'What the last epoch that was finished within the budget had reached: mean over done runs, from where all of them have finished an epoch. A lead is clear where the 95% t interval of the paired difference from the runner-up lies above 0, at that budget alone; otherwise it is marked ≈, with all who are in front there. ',
        jobsNote(study),
      ),
    ],
    draw,
  };
}

function reignBar(study, width, parts, budgets, chart) {
  const picture = svg('svg', {
    class: 'chart reign',
    viewBox: `0 0 ${width} 34`,
    width,
    height: 34,
    role: 'img',
    'aria-label': 'Who leads at which budget; in words below',
  });
  for (const part of parts) {
    const [a, b] = [chart.sx(part.start), chart.sx(part.end)];
    const clear = part.clear !== null;
    const colour = clear ? look(part.clear).colour : null;
    picture.append(
      svg('rect', {class: clear ? null : 'tie', x: a, y: 4, width: Math.max(b - a, 1), height: 22, fill: colour}),
    );
    const text = clear
      ? short(study.label(part.clear), 22)
      : `≈ ${[...part.front].map((variant) => short(study.label(variant), 20)).join(', ')}`;
    if (b - a < widthOf(text) * 1.08 + 6) continue;
    const name = svg('text', {x: (a + b) / 2, y: 19, 'text-anchor': 'middle'}, text);
    if (clear) name.style.fill = inkOn(hex(colour));
    picture.append(name);
  }
  picture.append(svg('text', {class: 'axis-label', x: 4, y: 19}, 'Leads'));
  return picture;
}

function hex(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function reignWords(study, parts) {
  if (!parts.length) return ['No budget lets every run finish an epoch.'];
  const clear = new Map();
  for (const part of parts) {
    if (part.clear === null) continue;
    if (!clear.has(part.clear)) clear.set(part.clear, []);
    const own = clear.get(part.clear);
    if (own.length && part.start <= own[own.length - 1][1] * 1.03) own[own.length - 1][1] = part.end;
    else own.push([part.start, part.end]);
  }
  if (!clear.size) return ['Nobody leads clearly at any budget.'];
  const listed = [...clear].flatMap(([variant, spans], i) => [
    i ? '; ' : '',
    el('strong', {}, bdi(named(study.label(variant)))),
    ' ',
    spans
      .slice(0, 5)
      .map(([start, end]) => `${seconds(start)}–${seconds(end)} s`)
      .join(', '),
    spans.length > 5 ? ', …' : '',
  ]);
  return ['Clear leads: ', ...listed, '. At other budgets the one in front may owe it to chance.'];
}
