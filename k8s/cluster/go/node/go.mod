// Our own small programs on the test cluster's node; standard library only.
module dev.toolkit/cluster/node

go 1.24.0
