// Small pieces of the page. What others wrote (users, rooms, answers) becomes text nodes, never markup.

export const byId = (id) => document.getElementById(id);

export function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(className, text, onClick, label) {
  const node = element("button", className, text);
  node.type = "button";
  if (label) node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}

/** What somebody else has named, apart from the text around it. */
export const quoted = (text, className = "") => element("bdi", className, text);

/** Sets a node's text only if it differs: what a screen reader follows must not be written anew. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Names and values. */
export function facts(pairs) {
  const list = element("dl", "facts");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(element("dt", "", name), element("dd", "", value));
  }
  return list;
}

/** A table in a frame that scrolls. A column: `{ title, isNumber }`; a cell: text or a node. The first
 *  cell of a row is its heading. */
export function table(caption, columns, rows) {
  const head = element("tr", "");
  for (const { title, isNumber } of columns) {
    const cell = element("th", isNumber ? "number" : "", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element("tbody", "");
  for (const row of rows) {
    const line = element("tr", "");
    row.forEach((value, place) => {
      const cell = element(place === 0 ? "th" : "td", columns[place].isNumber ? "number" : "", value);
      if (place === 0) cell.scope = "row";
      line.append(cell);
    });
    body.append(line);
  }
  const title = element("caption", "for-readers", caption);
  const frame = element("div", "scroll", element("table", "", title, element("thead", "", head), body));
  // What can be scrolled can be reached by the keyboard.
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", caption);
  return frame;
}

/** Into the dialog that is open, which covers all else. */
function place(news) {
  const open = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (news.parentNode !== open) open.append(news);
}

// A dialog that closes does not take the news with it.
document.addEventListener("close", () => place(byId("news")), true);

/** One line at the foot of the page, or of the dialog that is open, for a few seconds. */
export function tell(text) {
  const news = byId("news");
  place(news);
  news.textContent = text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => (news.textContent = ""), 6000);
}
