-- A suspended resource echoes a request, and does no more.
local suspended = (obj.spec or {}).suspend == true
return {
  reconcile = { disabled = suspended },
  suspend = { disabled = suspended },
  resume = { disabled = not suspended },
}
