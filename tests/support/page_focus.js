// What has the focus: its name, whether that can be seen, and whether it is nothing at all.
() => {
  const element = document.activeElement;
  const isHidden = element.matches("input[type=radio], input[type=checkbox]") && element.nextElementSibling;
  const ring = getComputedStyle(isHidden ? element.nextElementSibling : element).outlineStyle !== "none";
  const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent.trim() || element.id;
  return { body: element === document.body, ring, name }
}
