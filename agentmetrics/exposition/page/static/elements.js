// Elements that are made once, and of which only the text changes.
//
// Every text from outside is put in with textContent, or as an attribute that is no code: it stays text.

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
// One child for each item, in their order: those that are there are kept, with focus and all.
function keep(parent, items, key, make, update) {
  parent.kept ??= new Map();
  const there = new Map();
  items.forEach((item, index) => {
    const id = key(item);
    const child = parent.kept.get(id) ?? make(item);
    there.set(id, child);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    update(child, item);
  });
  for (const [id, child] of parent.kept) if (there.get(id) !== child) child.remove();
  parent.kept = there;
}
