# bash-completion reads this at the first Tab behind cardea. What is offered is told by the
# program itself, so that it is always of the same version.
source <(cardea completion bash)
