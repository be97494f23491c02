"""Model families, one file each: encoding of picture and prompt, prediction of a step."""
