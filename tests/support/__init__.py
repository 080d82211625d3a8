"""What tests share. Each module is named by what it holds; no test module and no conftest is imported by another."""
