// Filters the lists of examples and samples while the user types. Without this script the page shows all items.
for (const filter of document.querySelectorAll(".filter")) {
  const items = [...filter.parentElement.querySelectorAll(".item")];
  const [search, tag] = [filter.querySelector("input"), filter.querySelector("select")];
  const count = filter.querySelector("output");
  const texts = items.map((item) => item.textContent.toLowerCase());
  const apply = () => {
    const query = search.value.toLowerCase();
    items.forEach((item, index) => {
      item.hidden = !texts[index].includes(query) || (tag && tag.value && !item.dataset.tags.split("|").includes(tag.value));
    });
    count.value = `${items.filter((item) => !item.hidden).length} of ${items.length}`;
  };
  filter.addEventListener("input", apply);
  filter.hidden = false;
  apply();
}
