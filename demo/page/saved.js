// A file that the server has made, on its way to the visitor's downloads.
watch('value', async () => {
  if (!props.value) return;
  const { name, address } = props.value;
  props.value = null; // so that the same file can be saved again
  const content = await (await fetch(address)).blob();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
