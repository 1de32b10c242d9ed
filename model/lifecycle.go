package model

// CreateOption changes how a workspace is created. FromTemplate and FromWorkspace are
// such options, and so is what WithInit of package pools returns.
type CreateOption interface{ ForCreate() }

// FromTemplate names a database that is copied, in place of template1. Nobody may be
// connected to it meanwhile, and the role must own it unless it is marked as a template.
type FromTemplate string

// FromWorkspace is the workspace that is copied. It is paused meanwhile, as with Pause:
// its leases come home, and nobody else may be connected to its database.
type FromWorkspace WorkspaceID

// ForCreate marks a CreateOption.
func (FromTemplate) ForCreate() {}

// ForCreate marks a CreateOption.
func (FromWorkspace) ForCreate() {}

// DropOption changes how a workspace is dropped.
type DropOption string

// Force has the server end the sessions of other processes in the database.
const Force DropOption = "force"
