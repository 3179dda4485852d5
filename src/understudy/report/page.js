// Narrows lists while one types. Without it the page shows everything.
for (const filter of document.querySelectorAll(".filter")) {
  const items = [...filter.parentElement.querySelectorAll(".item")];
  const [search, tag] = [filter.querySelector("input"), filter.querySelector("select")];
  const count = filter.querySelector("output");
  const texts = items.map((item) => item.textContent.toLowerCase());
  const narrow = () => {
    const wanted = search.value.toLowerCase();
    items.forEach((item, place) => {
      item.hidden = !texts[place].includes(wanted) || (tag && tag.value && item.dataset.tag !== tag.value);
    });
    count.value = `${items.filter((item) => !item.hidden).length} of ${items.length}`;
  };
  filter.addEventListener("input", narrow);
  filter.hidden = false;
  narrow();
}
