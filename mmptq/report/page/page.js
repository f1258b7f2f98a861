const filter = document.getElementById('filter');
if (filter) {
  const rows = [...document.querySelectorAll('#coverage-table tr')].slice(1);
  filter.addEventListener('input', () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
