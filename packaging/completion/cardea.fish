# fish reads this at the first Tab behind cardea. What is offered is told by the program
# itself, so that it is always of the same version.
cardea completion fish | source
