// The changed face at the age of the slider, laid over the photo.
watch('value', () => {
  if (props.value) window.layOver(props.value.of, props.value.address, `At ${props.value.year}`);
});
