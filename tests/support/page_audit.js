// What somebody who does not see, or sees little, would stumble over: names, roles, headings, sizes, contrast.
() => {
  const problems = [];
  const shown = (node) => node.checkVisibility({ visibilityProperty: true });
  const name = (node) => (node.getAttribute("aria-label") || (node.labels && [...node.labels].map((l) => l.textContent).join(" "))
    || (node.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("")
    || node.textContent || node.title || "").trim();
  for (const node of document.querySelectorAll("button, a[href], input, select, textarea, [role=slider], [role=progressbar], summary")) {
    if (shown(node) && !name(node)) problems.push(`no name: ${node.outerHTML.slice(0, 120)}`);
  }
  for (const node of document.querySelectorAll("section, nav, [role=group], [role=radiogroup], [role=region]")) {
    if (!name(node)) problems.push(`no name: ${node.outerHTML.slice(0, 120)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) problems.push(`id twice: ${id}`);
  for (const node of document.querySelectorAll("[aria-describedby], [aria-labelledby]")) {
    for (const id of `${node.getAttribute("aria-describedby") ?? ""} ${node.getAttribute("aria-labelledby") ?? ""}`.trim().split(/\s+/)) {
      if (!document.getElementById(id)) problems.push(`points nowhere: ${id}`);
    }
  }
  for (const node of document.querySelectorAll("img")) if (!node.hasAttribute("alt")) problems.push("an image without alt");
  for (const role of ["header", "main", "nav", "footer"]) if (!document.querySelector(role)) problems.push(`no ${role}`);
  if (!document.documentElement.lang) problems.push("no language");
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter(shown).map((node) => Number(node.tagName[1]));
  levels.forEach((level, at) => at && level > levels[at - 1] + 1 && problems.push(`a heading ${level} after ${levels[at - 1]}`));
  for (const node of document.querySelectorAll("button, select, input:not([type=range], [type=radio], [type=checkbox])")) {
    const box = node.getBoundingClientRect();
    if (shown(node) && Math.min(box.width, box.height) < 24) problems.push(`too small: ${node.outerHTML.slice(0, 90)}`);
  }

  // Contrast by WCAG 2: the text's colour over the backgrounds that it lies on, mixed by their transparency.
  const parse = (text) => { const v = text.match(/[\d.]+/g).map(Number); return { rgb: v.slice(0, 3), a: v[3] ?? 1 }; };
  const over = (top, under) => top.rgb.map((c, i) => c * top.a + under[i] * (1 - top.a));
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !shown(node) || node.closest("option, noscript, .unseen, :disabled")) continue;
    const style = getComputedStyle(node), ground = behind(node);
    const ratio = contrast(over(parse(style.color), ground), ground);
    const needed = parseFloat(style.fontSize) >= 24 || node.closest(".unknown") ? 3 : 4.5;
    if (ratio < needed) problems.push(`contrast ${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return problems;
}
