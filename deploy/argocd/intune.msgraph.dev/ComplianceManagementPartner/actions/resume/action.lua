-- Not removed: whether git has `false` or no such field, false is in sync with it.
obj.spec.suspend = false
return obj
