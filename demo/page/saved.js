// A file that the server has made, on its way to the visitor's downloads.
watch('value', async () => {
  if (!props.value) return;
  const content = await (await fetch(props.value.address)).blob();
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = props.value.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
