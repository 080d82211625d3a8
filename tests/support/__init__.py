"""What tests share. Test modules and conftests import it from here, and never import one another."""
