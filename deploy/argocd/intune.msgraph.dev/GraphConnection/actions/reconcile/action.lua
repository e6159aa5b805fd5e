-- Any new value of this annotation asks for a sync now, with a fresh read.
local os = require("os")
local annotation = "intune.msgraph.dev/reconcile-requested-at"
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
local value = os.date("!%Y-%m-%dT%H:%M:%SZ")
-- Two requests within a second are two values.
if obj.metadata.annotations[annotation] == value then
  value = value .. " again"
end
obj.metadata.annotations[annotation] = value
return obj
