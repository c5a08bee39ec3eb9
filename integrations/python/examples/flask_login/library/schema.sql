PRAGMA journal_mode = WAL;

CREATE TABLE IF NOT EXISTS readers (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS books (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    author TEXT NOT NULL,
    year INTEGER NOT NULL
);

INSERT OR IGNORE INTO books (id, title, author, year) VALUES
    (1, 'Pride and Prejudice', 'Jane Austen', 1813),
    (2, 'Frankenstein', 'Mary Shelley', 1818),
    (3, 'Jane Eyre', 'Charlotte Brontë', 1847),
    (4, 'Moby-Dick', 'Herman Melville', 1851),
    (5, 'Middlemarch', 'George Eliot', 1871),
    (6, 'Effi Briest', 'Theodor Fontane', 1895),
    (7, 'Dracula', 'Bram Stoker', 1897),
    (8, 'Buddenbrooks', 'Thomas Mann', 1901),
    (9, 'Mrs Dalloway', 'Virginia Woolf', 1925);
