"""How the weights in assets/ were made: data, teacher, reflow, distil, finish, evaluate."""
